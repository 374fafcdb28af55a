"""Tables of the projection, `projection.db` or the schema `simpul_projection` (protocol §9): what the fold made of the
log. May be dropped and rebuilt.

One narrow row for each complaint, and one index of 16 bytes beside its key: every wide index would halve the rate of
the fold (docs/adr/0009-queries-of-the-projection.md). The index of what is due holds open complaints only.
"""

from typing import Final

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Text, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from node.deadlines.slot import NOTHING_DUE, SLOT_MAX

PROJECTION_REVISION: Final = "0004"
SLOT_OF_PLACE: Final = f"(place & {SLOT_MAX})"
IS_DUE: Final = f"(place & {NOTHING_DUE}) = 0"
_WORD: Final = Text()  # on PostgreSQL ordered byte by byte (migration 0002): words of the protocol are ASCII
_BIG: Final = BigInteger().with_variant(Integer, "sqlite")


class ProjectionTable(SQLModel, registry=registry()):
    """Base of this database's tables; its metadata is this database's alone."""


class ComplaintTable(ProjectionTable, table=True):
    """Number, key, place, packed state, pointers into the log (see projection_records.py, complaint_place.py)."""

    __tablename__ = "complaint"
    __table_args__ = (
        Index("complaint_key", "key", unique=True),
        # SQLite adds the row's number to every index by itself.
        Index("complaint_place", "place"),
        # What is due, of all agencies together: the slot of the place, of complaints that have something due.
        Index("complaint_due", text(SLOT_OF_PLACE), sqlite_where=text(IS_DUE), postgresql_where=text(IS_DUE)),
    )
    number: int = Field(primary_key=True, sa_type=_BIG)
    key: bytes = Field(sa_type=LargeBinary)
    place: int = Field(sa_type=BigInteger)
    state: bytes = Field(sa_type=LargeBinary)
    pointers: bytes = Field(sa_type=LargeBinary)


class RefusedTable(ProjectionTable, table=True):
    """Refused changes only: what is not here was applied."""

    __tablename__ = "refused"
    __table_args__ = (Index("refused_by_agency", "agency", "seq"),)
    idx: int = Field(primary_key=True, sa_type=_BIG)
    position: int = Field(primary_key=True)
    agency: str = Field(sa_type=_WORD)
    seq: int = Field(sa_type=BigInteger)
    change_id: str = Field(sa_type=_WORD)
    verdict: int


class InboxTable(ProjectionTable, table=True):
    """What each agency is told, in the order of the log (projection_records.py InboxRow)."""

    __tablename__ = "inbox"
    __table_args__ = (Index("inbox_by_place", "place"), Index("inbox_by_complaint", "key"))
    agency: str = Field(primary_key=True, sa_type=_WORD)
    place: int = Field(primary_key=True, sa_type=BigInteger)
    note: int
    verdict: int
    key: bytes | None = Field(default=None, sa_type=LargeBinary)


class TrackedTable(ProjectionTable, table=True):
    """Which complaint a tracking number is of, by a hash of it (node/hub/tracking.py); more than one may claim it."""

    __tablename__ = "tracked"
    hash: int = Field(primary_key=True, sa_type=BigInteger)
    key: bytes = Field(primary_key=True, sa_type=LargeBinary)


class TrackedToTable(ProjectionTable, table=True):
    """The one row that says how far the log was read for tracking numbers: behind the fold, when there is time."""

    __tablename__ = "tracked_to"
    id: int = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)


class TotalTable(ProjectionTable, table=True):
    """One figure under its four words (protocol §9.6), or a sum of such (projection_sums.py)."""

    __tablename__ = "total"
    figure: str = Field(primary_key=True, sa_type=_WORD)
    agency: str = Field(primary_key=True, sa_type=_WORD)
    key: str = Field(primary_key=True, sa_type=_WORD)
    class_: str = Field(primary_key=True, sa_type=_WORD)
    count: int = Field(sa_type=BigInteger)


class HeardTable(ProjectionTable, table=True):
    """For each agency the newest tick that stood before its last accepted set, if there was one."""

    __tablename__ = "last_heard"
    agency: str = Field(primary_key=True, sa_type=_WORD)
    tick_ms: int | None = Field(default=None, sa_type=BigInteger)


class GapTable(ProjectionTable, table=True):
    """A time in which an agency's node was provably away (node/deadlines/outages.py)."""

    __tablename__ = "gap"
    agency: str = Field(primary_key=True, sa_type=_WORD)
    from_ms: int = Field(primary_key=True, sa_type=_BIG)
    until_ms: int = Field(sa_type=BigInteger)


class CursorTable(ProjectionTable, table=True):
    """The one row that says how far the fold came. It is there from the first: two who move it at once meet in it."""

    __tablename__ = "cursor"
    id: int = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    state_hash: bytes = Field(sa_type=LargeBinary)
    updated_at_ms: int = Field(sa_type=BigInteger)
    tables_mark: bytes | None = Field(
        default=None, sa_type=LargeBinary
    )  # of the deadline tables that measured everything here
