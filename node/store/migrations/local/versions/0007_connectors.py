"""How far other systems were told (node/channels/connector)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each system."""
    op.create_table(
        "connector",
        sa.Column("system", sa.String(), primary_key=True),
        sa.Column("told_no", sa.Integer(), nullable=False),
    )
