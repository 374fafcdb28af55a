"""Files that are here, by the content lines that name them (protocol §13.5)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()
_PLACE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """One row for each line; the bytes are outside of the database."""
    op.create_table(
        "named_file",
        sa.Column("idx", _PLACE, primary_key=True),
        sa.Column("leaf", sa.LargeBinary(), primary_key=True),
        sa.Column("agency", sa.String(), nullable=False, index=True),
        sa.Column("complaint", sa.LargeBinary(), nullable=False),
        sa.Column("file", sa.LargeBinary(), nullable=False, index=True),
        sa.Column("size", _BIG, nullable=False),
    )
