"""Tables of the projection, `projection.db` (protocol §9): what the fold made of the log. May be dropped and rebuilt.

One narrow row for each complaint and no secondary index: every wide index would halve the rate of the fold.
"""

from typing import Final

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

PROJECTION_REVISION: Final = "0001"


class ProjectionTable(SQLModel, registry=registry()):
    """Base of this database's tables; its metadata is this database's alone."""


class ComplaintTable(ProjectionTable, table=True):
    """Key, packed state, pointers into the log (see projection_records.py)."""

    __tablename__ = "complaint"
    __table_args__ = (UniqueConstraint("key"),)
    id: int | None = Field(default=None, primary_key=True)
    key: bytes = Field(sa_type=LargeBinary)
    state: bytes = Field(sa_type=LargeBinary)
    pointers: bytes = Field(sa_type=LargeBinary)


class RefusedTable(ProjectionTable, table=True):
    """Refused changes only: what is not here was applied."""

    __tablename__ = "refused"
    __table_args__ = (Index("refused_by_agency", "agency", "seq"),)
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    position: int = Field(primary_key=True)
    agency: str
    seq: int = Field(sa_type=BigInteger)
    change_id: str
    verdict: int


class TotalTable(ProjectionTable, table=True):
    """One figure by its name."""

    __tablename__ = "total"
    name: str = Field(primary_key=True)
    count: int = Field(sa_type=BigInteger)


class HeardTable(ProjectionTable, table=True):
    """For each agency the newest tick that stood before its last accepted set, if there was one."""

    __tablename__ = "last_heard"
    agency: str = Field(primary_key=True)
    tick_ms: int | None = Field(default=None, sa_type=BigInteger)


class CursorTable(ProjectionTable, table=True):
    """The one row that says how far the fold came."""

    __tablename__ = "cursor"
    id: int = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger)
    state_hash: bytes = Field(sa_type=LargeBinary)
    updated_at_ms: int = Field(sa_type=BigInteger)
