"""What PostgreSQL would do better without: compressing frames and tiles again, and its own order of letters.

Frames are compressed and tiles random already. Words of the protocol are ASCII and compared byte by byte; an index in
the order of a locale is slower, and wrong after an update of the system's library. SQLite does neither.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COMPRESSED = (("set_changes", "frame"), ("set_contents", "frame"), ("hash_tile", "hashes"))
_INDEXED_WORDS = (("change_set", "agency"), ("head", "agency"), ("auditor_grant", "name"))


def upgrade() -> None:
    """Of what is written from now on; frames that are there stay readable as they are."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column in _COMPRESSED:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
    for table, column in _INDEXED_WORDS:
        op.execute(f'ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar COLLATE "C"')
