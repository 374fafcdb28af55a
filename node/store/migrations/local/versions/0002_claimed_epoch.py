"""Whether the epoch is claimed by this directory, and when sets were last adopted (protocol §10.2, §10.3)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An epoch of before is nobody's: the next process raises it."""
    op.add_column("node", sa.Column("is_claimed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("node", sa.Column("adopted_at_ms", sa.BigInteger()))
