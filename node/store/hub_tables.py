"""Tables of the hub's log plane, `hub.db` (protocol §6, §8). Rows are dumb: invariants live in sync_protocol.

Positions in the log are called `idx`, because `index` is a word of SQL. Times are milliseconds since 1970. What is big
(the two parts of a set) stands apart from what is looked up, and both in the order of the log, so that appending
touches the end of each table only.
"""

from typing import Final

from sqlalchemy import BigInteger, Integer, LargeBinary, Table, UniqueConstraint
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

HUB_REVISION: Final = "0004"
TILE_LEVEL_SHIFT: Final = 52  # `place` of a tile = level << 52 | its number; 2**60 leaves fit


class HubTable(SQLModel, registry=registry()):
    """Base of this database's tables; its metadata is this database's alone."""


def table_of(model: type[SQLModel]) -> Table:
    """The Core table behind a table model: hot paths use Core, never the ORM."""
    table = model.__dict__["__table__"]
    assert isinstance(table, Table)
    return table


class LogEntryRow(HubTable, table=True):
    """One leaf of the log: the compact JWS as it came."""

    __tablename__ = "log_entry"
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    kind: int  # 0 statement, 1 change set
    entry: bytes = Field(sa_type=LargeBinary)


class StatementRow(HubTable, table=True):
    """Where the statements are; the words themselves are in `log_entry`."""

    __tablename__ = "statement"
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    typ: str
    agency: str | None = None
    digest: bytes = Field(sa_type=LargeBinary, unique=True)


class ChangeSetRow(HubTable, table=True):
    """One accepted set: who, which, and how much of it is hidden here."""

    __tablename__ = "change_set"
    __table_args__ = (UniqueConstraint("agency", "seq"),)
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    agency: str
    seq: int = Field(sa_type=BigInteger)
    epoch: int = Field(sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)
    changes: int
    size: int
    hidden: int
    erased: int = 0
    received_at_ms: int = Field(sa_type=BigInteger)


class SetChangesRow(HubTable, table=True):
    """First part of a set, a zstd frame: manifest line and change lines. Never altered."""

    __tablename__ = "set_changes"
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    frame: bytes = Field(sa_type=LargeBinary)


class SetContentsRow(HubTable, table=True):
    """Second part of a set, a zstd frame: content lines. May be completed, may be erased."""

    __tablename__ = "set_contents"
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    frame: bytes = Field(sa_type=LargeBinary)


class HeadRow(HubTable, table=True):
    """The newest accepted set of each agency."""

    __tablename__ = "head"
    agency: str = Field(primary_key=True)
    epoch: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)
    idx: int = Field(sa_type=BigInteger)
    received_at_ms: int = Field(sa_type=BigInteger)


class HashTileRow(HubTable, table=True):
    """The widest content so far of one hash tile (C2SP tiles); narrower ones are its prefixes."""

    __tablename__ = "hash_tile"
    place: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    hashes: bytes = Field(sa_type=LargeBinary)


class CheckpointRow(HubTable, table=True):
    """Every checkpoint that was signed, and the size that it follows."""

    __tablename__ = "checkpoint"
    size: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    follows: int = Field(sa_type=BigInteger)
    root: bytes = Field(sa_type=LargeBinary)
    note: bytes = Field(sa_type=LargeBinary)
    at_ms: int = Field(sa_type=BigInteger)


class InvitationRow(HubTable, table=True):
    """One-time enrolment tokens, hashed; the first key that used one keeps it for ever."""

    __tablename__ = "invitation"
    token_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    agency: str
    created_at_ms: int = Field(sa_type=BigInteger)
    used_by: str | None = None
    used_idx: int | None = Field(default=None, sa_type=BigInteger)


class GrantRow(HubTable, table=True):
    """Auditors' bearer tokens, hashed."""

    __tablename__ = "auditor_grant"
    token_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    name: str = Field(index=True)
    with_content: bool
    created_at_ms: int = Field(sa_type=BigInteger)
    ended_at_ms: int | None = Field(default=None, sa_type=BigInteger)


class ContentReadRow(HubTable, table=True):
    """Who was shown content lines of whom, and when. Reading without this row does not happen."""

    __tablename__ = "content_read"
    id: int | None = Field(default=None, primary_key=True)
    at_ms: int = Field(sa_type=BigInteger)
    reader: str
    what: str


class ForkRow(HubTable, table=True):
    """Two signed manifests for one place in an agency's chain: evidence, never deleted."""

    __tablename__ = "fork"
    __table_args__ = (UniqueConstraint("held_digest", "other_digest"),)
    id: int | None = Field(default=None, primary_key=True)
    agency: str
    epoch: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
    held_digest: bytes = Field(sa_type=LargeBinary)
    other_digest: bytes = Field(sa_type=LargeBinary)
    held: bytes = Field(sa_type=LargeBinary)
    other: bytes = Field(sa_type=LargeBinary)
    at_ms: int = Field(sa_type=BigInteger)
    statement_idx: int | None = Field(default=None, sa_type=BigInteger)


class ErasedLineRow(HubTable, table=True):
    """Content lines that are gone for good, by leaf hash: a repeat of the set does not bring them back."""

    __tablename__ = "erased_line"
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    leaf: bytes = Field(primary_key=True, sa_type=LargeBinary)
    at_ms: int = Field(sa_type=BigInteger)


class RecoveredLeafRow(HubTable, table=True):
    """A leaf that this log lost and somebody brought back, until it is in the log again (protocol §10.6).

    `agency` and `seq` are null for a statement, the frames while nobody brought the lines.
    """

    __tablename__ = "recovered_leaf"
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    agency: str | None = Field(default=None, index=True)
    seq: int | None = Field(default=None, sa_type=BigInteger)
    entry: bytes = Field(sa_type=LargeBinary)
    changes_frame: bytes | None = Field(default=None, sa_type=LargeBinary)
    contents_frame: bytes | None = Field(default=None, sa_type=LargeBinary)
    hidden: int = 0


class RecoveredCheckpointRow(HubTable, table=True):
    """A checkpoint of ours that somebody brought back."""

    __tablename__ = "recovered_checkpoint"
    size: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    note: bytes = Field(sa_type=LargeBinary)


class MissingSetRow(HubTable, table=True):
    """A set that stands in the log and whose lines nobody has brought back yet: it has no frames."""

    __tablename__ = "missing_set"
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    agency: str = Field(index=True)
    seq: int = Field(sa_type=BigInteger)


class NamedFileRow(HubTable, table=True):
    """A content line of an applied `attached` change, and the file that it names, which is here (protocol §13.5)."""

    __tablename__ = "named_file"
    idx: int = Field(primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    leaf: bytes = Field(primary_key=True, sa_type=LargeBinary)
    agency: str = Field(index=True)
    complaint: bytes = Field(sa_type=LargeBinary)
    file: bytes = Field(sa_type=LargeBinary, index=True)
    size: int = Field(sa_type=BigInteger)
