"""What other agencies did to complaints, how far the inbox was read, whose each complaint is (protocol §7.6, §10.7)."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


class _Owned(msgspec.Struct):
    """Of a packed complaint, what goes into columns of its own."""

    owner: str
    offer_to: str | None = None


def upgrade() -> None:
    """Nothing was told yet: the inbox is read from its beginning."""
    op.add_column("node", sa.Column("inbox_place", sa.BigInteger(), nullable=False, server_default=sa.text("-1")))
    op.add_column("complaint", sa.Column("owner", sa.String(), nullable=False, server_default=""))
    op.add_column("complaint", sa.Column("offered_to", sa.String(), nullable=True))
    op.add_column("complaint", sa.Column("is_unsettled", sa.Boolean(), nullable=False, server_default=sa.false()))
    _fill()
    op.create_index("complaint_by_owner", "complaint", ["owner", "no"])
    op.create_index(
        "complaint_offered", "complaint", ["offered_to", "no"], sqlite_where=sa.text("offered_to IS NOT NULL")
    )
    op.create_index("complaint_unsettled", "complaint", ["no"], sqlite_where=sa.text("is_unsettled"))
    op.create_table(
        "foreign_set",
        sa.Column("complaint_no", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("idx", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "refusal",
        sa.Column("place", sa.Integer(), primary_key=True),
        sa.Column("complaint_no", sa.Integer(), nullable=False),
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("refusal_of_complaint", "refusal", ["complaint_no"])


def _fill() -> None:
    connection = op.get_bind()
    decode = msgspec.msgpack.Decoder(_Owned).decode
    for no, packed in connection.execute(sa.text("SELECT no, packed FROM complaint")).all():
        owned = decode(packed)
        connection.execute(
            sa.text("UPDATE complaint SET owner = :owner, offered_to = :to WHERE no = :no"),
            {"owner": owned.owner, "to": owned.offer_to, "no": no},
        )
