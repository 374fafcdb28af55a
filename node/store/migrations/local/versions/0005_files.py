"""Files that changes name: which are to go to the hub, and which are to go for good (protocol §13)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()


def upgrade() -> None:
    """Two tables, empty: what was attached before named no file that was kept."""
    op.create_table(
        "attachment",
        sa.Column("leaf", sa.LargeBinary(), primary_key=True),
        sa.Column("change_no", sa.Integer(), nullable=False, index=True),
        sa.Column("file", sa.LargeBinary(), nullable=False, index=True),
        sa.Column("size", _BIG, nullable=False),
        sa.Column("sent_at_ms", _BIG),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since_ms", _BIG),
        sa.Column("attempted_at_ms", _BIG),
        sa.Column("next_attempt_at_ms", _BIG, nullable=False, index=True),
        sa.Column("trouble", sa.String()),
    )
    op.create_table("unnamed_file", sa.Column("file", sa.LargeBinary(), primary_key=True))
