"""Changes, complaints, sets with frames and receipts, statements, answers, tokens, and the node's own row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()
_BLOB = sa.LargeBinary()


def upgrade() -> None:
    """All tables of the first version."""
    _node()
    _complaints()
    _sets()
    _intake()


def _node() -> None:
    op.create_table(
        "node",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("vkey", sa.String(), nullable=False),
        sa.Column("enrolment", _BLOB, nullable=False),
        sa.Column("enrolled_at_ms", _BIG, nullable=False),
        sa.Column("epoch", _BIG, nullable=False),
        sa.Column("seen_size", _BIG, nullable=False),
        sa.Column("seen_root", _BLOB, nullable=False),
        sa.Column("seen_sig", _BLOB, nullable=False),
        sa.Column("seen_note", _BLOB, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since_ms", _BIG),
        sa.Column("attempted_at_ms", _BIG),
        sa.Column("next_attempt_at_ms", _BIG, nullable=False),
        sa.Column("hub_seen_at_ms", _BIG),
        sa.Column("last_receipt_at_ms", _BIG),
        sa.Column("halt_reason", sa.String()),
        sa.Column("halt_detail", sa.String()),
        sa.Column("halted_at_ms", _BIG),
        sa.Column("trouble", sa.String()),
    )
    op.create_table(
        "statement",
        sa.Column("idx", sa.Integer(), primary_key=True),
        sa.Column("digest", _BLOB, nullable=False, unique=True),
        sa.Column("statement", _BLOB, nullable=False),
        sa.Column("receipt", _BLOB),
    )


def _complaints() -> None:
    op.create_table(
        "complaint",
        sa.Column("no", sa.Integer(), primary_key=True),
        sa.Column("key", _BLOB, nullable=False, unique=True),
        sa.Column("tracking", sa.String(), nullable=False),
        sa.Column("source_system", sa.String()),
        sa.Column("source_id", sa.String()),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("rev", _BIG, nullable=False),
        sa.Column("unit", sa.String()),
        sa.Column("received_at_ms", _BIG, nullable=False),
        sa.Column("changed_at_ms", _BIG, nullable=False),
        sa.Column("packed", _BLOB, nullable=False),
    )
    op.create_index("complaint_by_state", "complaint", ["state", "no"])
    op.create_index("complaint_by_source", "complaint", ["source_id", "source_system"])
    op.create_index("ix_complaint_tracking", "complaint", ["tracking"])
    op.create_table(
        "change",
        sa.Column("no", sa.Integer(), primary_key=True),
        sa.Column("complaint_no", sa.Integer(), nullable=False),
        sa.Column("line", _BLOB, nullable=False),
        sa.Column("content", _BLOB),
        sqlite_autoincrement=True,
    )
    op.create_index("change_of_complaint", "change", ["complaint_no", "no"])
    op.create_table(
        "set_aside",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at_ms", _BIG, nullable=False),
        sa.Column("complaint", sa.String(), nullable=False),
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("line", _BLOB, nullable=False),
        sa.Column("content", _BLOB),
    )


def _sets() -> None:
    op.create_table(
        "change_set",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("epoch", _BIG, nullable=False),
        sa.Column("seq", _BIG, nullable=False),
        sa.Column("digest", _BLOB, nullable=False),
        sa.Column("kid", sa.String(), nullable=False),
        sa.Column("first_no", sa.Integer(), nullable=False),
        sa.Column("last_no", sa.Integer(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("at_ms", _BIG, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("idx", _BIG),
        sa.Column("receipt_at_ms", _BIG),
        sa.Column("hidden", sa.Integer(), nullable=False),
        sa.Column("erased", sa.Integer(), nullable=False),
        sa.Column("shown_again", sa.Integer(), nullable=False),
        sa.Column("manifest", _BLOB, nullable=False),
    )
    live = sa.text("status <> 2")
    op.create_index("change_set_place", "change_set", ["epoch", "seq"], unique=True, sqlite_where=live)
    op.create_index("change_set_by_seq", "change_set", ["seq"])
    op.create_index("change_set_by_no", "change_set", ["first_no"])
    op.create_table(
        "set_frames",
        sa.Column("set_id", sa.Integer(), primary_key=True),
        sa.Column("head", _BLOB, nullable=False),
        sa.Column("contents", _BLOB, nullable=False),
    )
    op.create_table(
        "set_receipt",
        sa.Column("set_id", sa.Integer(), primary_key=True),
        sa.Column("receipt", _BLOB, nullable=False),
    )


def _intake() -> None:
    op.create_table(
        "answer",
        sa.Column("key", _BLOB, primary_key=True),
        sa.Column("body", _BLOB, nullable=False),
        sa.Column("answer", _BLOB, nullable=False),
        sa.Column("at_ms", _BIG, nullable=False),
    )
    op.create_table(
        "api_token",
        sa.Column("hash", _BLOB, primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at_ms", _BIG, nullable=False),
        sa.Column("ended_at_ms", _BIG),
    )
    op.create_index("ix_api_token_name", "api_token", ["name"])
