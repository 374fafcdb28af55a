"""Schema migrations, run by the program itself: at init, and where a start finds an older schema.

Each database has its own tree under `migrations/`, the same for SQLite and PostgreSQL. Alembic is loaded only to
migrate; a start compares one word. Revisions are numbers of four digits; those of the log plane keep what is there and
may be read by the program before them.
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
MIGRATION_LOCK: Final = 0x53494D50  # "SIMP": processes that start at the same time migrate one after the other
UNDEFINED_TABLE: Final = "42P01"  # PostgreSQL's code for it


def alembic_config(tree: str) -> Config:
    """Alembic's view of one tree (`hub`, `projection`, …)."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(TREES / tree).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def migrate(engine: AsyncEngine, tree: str, revision: str = "head") -> None:
    """Brings the database to the newest schema, in one transaction; a crash leaves the earlier schema."""
    from alembic import command

    config = alembic_config(tree)

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK}, 0)"))
        await connection.run_sync(run)


async def bring_up_to_date(engine: AsyncEngine, tree: str, wanted: str, what: str) -> None:
    """Migrates an older schema of this tree. Raises Corrupt for any other than that and the `wanted` one."""
    found = await revision_of(engine)
    if found is not None and found.isdigit() and found < wanted:
        await migrate(engine, tree)
    else:
        _check(found, wanted, what)


async def check_revision(engine: AsyncEngine, wanted: str, what: str) -> None:
    """Raises Corrupt if the database has another schema than this program was written for."""
    _check(await revision_of(engine), wanted, what)


async def revision_of(engine: AsyncEngine) -> str | None:
    """The schema that the database has, None if it has none of ours."""
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
    except DatabaseError as error:
        if "no such table" in str(error.orig) or getattr(error.orig, "sqlstate", None) == UNDEFINED_TABLE:
            return None
        raise


def _check(found: str | None, wanted: str, what: str) -> None:
    if found != wanted:
        raise Corrupt(
            f"the {what} has schema {found or 'none'}, this program wants {wanted}",
            next_step="Run the version of the program that made it, or migrate a copy of it (docs/operations.md).",
        )
