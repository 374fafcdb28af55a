"""Which reporters were told by SMS of which change (node/channels/sms_answers.py)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each change that somebody was told of."""
    op.create_table(
        "sms_told",
        sa.Column("change_id", sa.String(), primary_key=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
