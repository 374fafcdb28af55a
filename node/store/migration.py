"""Schema migrations, run by the program itself: at init, and checked at every start.

Each database has its own tree under `migrations/`. Alembic is loaded only to migrate; a start compares one word.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncEngine

from sync_protocol.errors import Corrupt

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

TREES: Final = Path(__file__).parent / "migrations"


def alembic_config(tree: str) -> Config:
    """Alembic's view of one tree (`hub`, `projection`, …)."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(TREES / tree).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def migrate(engine: AsyncEngine, tree: str) -> None:
    """Brings the database to the newest schema, in one transaction; a crash leaves the earlier schema."""
    from alembic import command

    config = alembic_config(tree)

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with engine.begin() as connection:
        await connection.run_sync(run)


async def check_revision(engine: AsyncEngine, wanted: str, what: str) -> None:
    """Raises Corrupt if the database has another schema than this program was written for."""
    try:
        async with engine.connect() as connection:
            found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
    except DatabaseError as error:
        found = None
        if "no such table" not in str(error.orig):
            raise
    if found != wanted:
        raise Corrupt(
            f"the {what} has schema {found or 'none'}, this program wants {wanted}",
            next_step="Run the version of the program that made it, or migrate a copy of it (docs/operations.md).",
        )
