"""Frames and tiles are compressed, or random, already: PostgreSQL is told not to try it again. SQLite never does."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COLUMNS = (("set_changes", "frame"), ("set_contents", "frame"), ("hash_tile", "hashes"))


def upgrade() -> None:
    """Of what is written from now on; what is there stays readable as it is."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column in _COLUMNS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
