"""Duties have their clocks in the packed state, absences a table, what is due an index over all agencies.

What is new comes from the log alone, so everything is emptied and folded again, by itself.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()


def upgrade() -> None:
    """Empties the tables, adds what is new, and sets the cursor to the beginning."""
    for table in ("complaint", "refused", "total", "last_heard"):
        op.execute(sa.table(table).delete())
    is_postgres = op.get_bind().dialect.name == "postgresql"
    where = sa.text("(place & 33554432) = 0")
    expression = sa.text("(place & 67108863)")
    columns = [expression, sa.text("number")] if is_postgres else [expression]  # SQLite adds the row's number itself
    op.create_index("complaint_due", "complaint", columns, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "gap",
        sa.Column("agency", sa.Text(collation="C") if is_postgres else sa.Text(), primary_key=True),
        sa.Column("from_ms", _BIG if is_postgres else sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("until_ms", _BIG, nullable=False),
    )
    op.add_column("cursor", sa.Column("tables_mark", sa.LargeBinary()))
    start = sa.table("cursor", sa.column("size"), sa.column("state_hash", sa.LargeBinary()), sa.column("updated_at_ms"))
    op.execute(start.update().values(size=0, state_hash=bytes(32), updated_at_ms=0))
