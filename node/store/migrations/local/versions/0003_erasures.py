"""Content lines that are to go and are not gone yet (protocol §3.4)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row for each leaf hash, until the line is gone everywhere."""
    op.create_table(
        "erasure",
        sa.Column("leaf", sa.LargeBinary(), primary_key=True),
        sa.Column("complaint_no", sa.Integer(), nullable=False),
    )
