"""Since when the duties of each complaint run, what is due next, and which tables measured it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is measured yet: the node does it from its change lines, page by page, when it runs."""
    op.add_column("complaint", sa.Column("clocks", sa.LargeBinary()))
    op.add_column("complaint", sa.Column("slot", sa.Integer()))
    op.add_column("node", sa.Column("tables_mark", sa.LargeBinary()))
    op.create_index("complaint_by_due", "complaint", ["slot", "no"], sqlite_where=sa.text("slot < 33554432"))
    op.create_index("complaint_unmeasured", "complaint", ["no"], sqlite_where=sa.text("slot IS NULL"))
