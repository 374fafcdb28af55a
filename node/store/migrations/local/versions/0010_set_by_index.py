"""A set is found by its place in the log: what the hub refuses is named so (protocol §7.6)."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One index."""
    op.create_index("change_set_by_idx", "change_set", ["idx"])
