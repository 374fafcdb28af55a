"""What every command of the program loads sooner or later, loaded once: for the process from which tests fork it.

Only what is the same for every command is done here: modules, and what libraries work out once from our classes. No
command runs, so that loggers, settings and connections begin in each process as they do for people.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Final

import typer.main
from sqlalchemy.orm import configure_mappers

from node.cli.main import app
from node.deadlines.tables import deadlines_of_tables

LATE: Final = (
    *("node.cli.demo", "node.wiring.hub", "node.wiring.hub_processes", "node.wiring.hub_recovery", "node.wiring.local"),
    *(
        "node.wiring.audit",
        "node.wiring.keys",
        "node.wiring.node_store",
        "node.wiring.backup",
        "node.wiring.doctor",
        "node.local.http",
    ),
    *("node.hub.http", "node.audit.url_source", "node.local.importers.sp4n", "openpyxl", "holidays.countries"),
    *(
        "tests.edge.program",
        "aiosqlite",
        "asyncpg",
        "sqlalchemy.dialects.sqlite.aiosqlite",
        "sqlalchemy.dialects.postgresql.asyncpg",
    ),
    *("alembic.command", "alembic.config", "alembic.op", "alembic.context", "alembic.runtime.environment"),
)

for name in LATE:
    import_module(name)
configure_mappers()
typer.main.get_command(app)
deadlines_of_tables()
gc.collect()
gc.freeze()  # forked processes share it unwritten, and do not look through it
