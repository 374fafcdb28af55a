"""Complaints have a place by owner, state and what is due; figures stand under their four words.

What the new columns hold comes from the log alone, so the tables are made anew and empty: the projector folds the log
again from its beginning, by itself.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()


def upgrade() -> None:
    """Drops, makes again, and sets the cursor to the beginning."""
    for table in ("complaint", "refused", "total", "last_heard", "cursor"):
        op.drop_table(table)
    is_postgres = op.get_bind().dialect.name == "postgresql"
    word = sa.Text(collation="C") if is_postgres else sa.Text()
    number = _BIG if is_postgres else sa.Integer()
    op.create_table(
        "complaint",
        # SQLite's row number; PostgreSQL would only keep a third index for it.
        sa.Column("number", number, nullable=False, primary_key=not is_postgres, autoincrement=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("place", _BIG, nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("pointers", sa.LargeBinary(), nullable=False),
    )
    op.create_index("complaint_key", "complaint", ["key"], unique=True)
    op.create_index("complaint_place", "complaint", ["place", "number"] if is_postgres else ["place"])
    _make_registers(word, number)
    cursor = op.create_table(
        "cursor",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("size", _BIG, nullable=False),
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at_ms", _BIG, nullable=False),
    )
    op.bulk_insert(cursor, [{"id": 1, "size": 0, "state_hash": bytes(32), "updated_at_ms": 0}])


def _make_registers(word: sa.types.TypeEngine[str], number: sa.types.TypeEngine[int]) -> None:
    op.create_table(
        "refused",
        sa.Column("idx", number, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("agency", word, nullable=False),
        sa.Column("seq", _BIG, nullable=False),
        sa.Column("change_id", word, nullable=False),
        sa.Column("verdict", sa.Integer(), nullable=False),
    )
    op.create_index("refused_by_agency", "refused", ["agency", "seq"])
    op.create_table(
        "total",
        sa.Column("figure", word, primary_key=True),
        sa.Column("agency", word, primary_key=True),
        sa.Column("key", word, primary_key=True),
        sa.Column("class_", word, primary_key=True),
        sa.Column("count", _BIG, nullable=False),
    )
    op.create_table(
        "last_heard",
        sa.Column("agency", word, primary_key=True),
        sa.Column("tick_ms", _BIG),
    )
