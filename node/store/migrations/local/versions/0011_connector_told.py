"""Which changes other systems were told of (node/channels/connector/webhooks.py)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each system and change. What was told before is known by its number."""
    op.create_table(
        "connector_told",
        sa.Column("system", sa.String(), primary_key=True),
        sa.Column("change_id", sa.String(), primary_key=True),
    )
