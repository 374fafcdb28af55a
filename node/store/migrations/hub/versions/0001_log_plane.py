"""The log plane: entries, tiles, sets in two parts, heads, checkpoints, invitations, grants, evidence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()
_PLACE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite's rowid must be called INTEGER


def upgrade() -> None:
    """All tables of the first version."""
    _log()
    _sets()
    _people()
    _evidence()


def _log() -> None:
    op.create_table(
        "log_entry",
        sa.Column("idx", _PLACE, primary_key=True),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "statement",
        sa.Column("idx", _PLACE, primary_key=True),
        sa.Column("typ", sa.String(), nullable=False),
        sa.Column("agency", sa.String()),
        sa.Column("digest", sa.LargeBinary(), nullable=False, unique=True),
    )
    op.create_table(
        "hash_tile",
        sa.Column("place", _PLACE, primary_key=True),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "checkpoint",
        sa.Column("size", _PLACE, primary_key=True),
        sa.Column("follows", _BIG, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", _BIG, nullable=False),
    )


def _sets() -> None:
    op.create_table(
        "change_set",
        sa.Column("idx", _PLACE, primary_key=True),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("seq", _BIG, nullable=False),
        sa.Column("epoch", _BIG, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("hidden", sa.Integer(), nullable=False),
        sa.Column("erased", sa.Integer(), nullable=False),
        sa.Column("received_at_ms", _BIG, nullable=False),
        sa.UniqueConstraint("agency", "seq"),
    )
    for part in ("set_changes", "set_contents"):
        op.create_table(
            part,
            sa.Column("idx", _PLACE, primary_key=True),
            sa.Column("frame", sa.LargeBinary(), nullable=False),
        )
    op.create_table(
        "head",
        sa.Column("agency", sa.String(), primary_key=True),
        sa.Column("epoch", _BIG, nullable=False),
        sa.Column("seq", _BIG, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("idx", _BIG, nullable=False),
        sa.Column("received_at_ms", _BIG, nullable=False),
    )


def _people() -> None:
    op.create_table(
        "invitation",
        sa.Column("token_hash", sa.LargeBinary(), primary_key=True),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("created_at_ms", _BIG, nullable=False),
        sa.Column("used_by", sa.String()),
        sa.Column("used_idx", _BIG),
    )
    op.create_table(
        "auditor_grant",
        sa.Column("token_hash", sa.LargeBinary(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, index=True),
        sa.Column("with_content", sa.Boolean(), nullable=False),
        sa.Column("created_at_ms", _BIG, nullable=False),
        sa.Column("ended_at_ms", _BIG),
    )
    op.create_table(
        "content_read",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at_ms", _BIG, nullable=False),
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
    )


def _evidence() -> None:
    op.create_table(
        "fork",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("epoch", _BIG, nullable=False),
        sa.Column("seq", _BIG, nullable=False),
        sa.Column("held_digest", sa.LargeBinary(), nullable=False),
        sa.Column("other_digest", sa.LargeBinary(), nullable=False),
        sa.Column("held", sa.LargeBinary(), nullable=False),
        sa.Column("other", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", _BIG, nullable=False),
        sa.Column("statement_idx", _BIG),
        sa.UniqueConstraint("held_digest", "other_digest"),
    )
    op.create_table(
        "erased_line",
        sa.Column("idx", _PLACE, primary_key=True, autoincrement=False),
        sa.Column("leaf", sa.LargeBinary(), primary_key=True),
        sa.Column("at_ms", _BIG, nullable=False),
    )
