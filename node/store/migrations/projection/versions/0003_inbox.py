"""What each agency is told of the log, and which complaint a tracking number is of.

Both come from the log alone, so everything is emptied and folded again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The new tables, and the cursor at the beginning."""
    is_postgres = op.get_bind().dialect.name == "postgresql"
    word = sa.Text(collation="C") if is_postgres else sa.Text()
    op.create_table(
        "inbox",
        sa.Column("agency", word, primary_key=True),
        sa.Column("place", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("note", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
    )
    op.create_index("inbox_by_place", "inbox", ["place"])
    op.create_index("inbox_by_complaint", "inbox", ["key"])
    op.create_table(
        "tracked",
        sa.Column("hash", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary(), primary_key=True),
    )
    read_to = op.create_table(
        "tracked_to",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(read_to, [{"id": 1, "size": 0}])
    for table in ("complaint", "refused", "total", "last_heard"):
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant
    start = {"size": 0, "state_hash": bytes(32), "updated_at_ms": 0}
    op.execute(sa.table("cursor", *(sa.column(name) for name in start)).update().values(start))
