"""Whether the hub holds sets of this node that are not here (protocol §10.3)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody is, until a comparison or a restore says so."""
    op.add_column("node", sa.Column("is_behind", sa.Boolean(), nullable=False, server_default=sa.false()))
