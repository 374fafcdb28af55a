"""Tables of a local node, `node.db` (protocol §10). Rows are dumb: invariants live in sync_protocol.

The outbox is no table: changes are numbered by `no` as they were recorded, a set covers a range of them, and what
comes after the last set is unsent. So recording a change is one row, and cutting a set touches none of them. What is
big (lines, frames, receipts) stands apart from what is looked up. Times are milliseconds since 1970.
"""

from typing import Final

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Table, false, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from node.deadlines.slot import NOTHING_DUE

LOCAL_REVISION: Final = "0011"

IS_DUE: Final = f"slot < {NOTHING_DUE}"


class LocalTable(SQLModel, registry=registry()):
    """Base of this database's tables; its metadata is this database's alone."""


def table_of(model: type[SQLModel]) -> Table:
    """The Core table behind a table model: hot paths use Core or the driver, never the ORM."""
    table = model.__dict__["__table__"]
    assert isinstance(table, Table)
    return table


class NodeRow(LocalTable, table=True):
    """The one row (id 1) that says who this node is, and how far it and the hub have come."""

    __tablename__ = "node"
    id: int | None = Field(default=None, primary_key=True)
    agency: str
    origin: str
    vkey: str
    enrolment: bytes = Field(sa_type=LargeBinary)
    enrolled_at_ms: int = Field(sa_type=BigInteger)
    epoch: int = Field(sa_type=BigInteger)
    is_claimed: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    adopted_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    is_behind: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    seen_size: int = Field(sa_type=BigInteger)
    seen_root: bytes = Field(sa_type=LargeBinary)
    seen_sig: bytes = Field(sa_type=LargeBinary)
    seen_note: bytes = Field(sa_type=LargeBinary)
    failures: int = 0
    failing_since_ms: int | None = Field(default=None, sa_type=BigInteger)
    attempted_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    next_attempt_at_ms: int = Field(default=0, sa_type=BigInteger)
    hub_seen_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    last_receipt_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    halt_reason: str | None = None
    halt_detail: str | None = None
    halted_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    trouble: str | None = None
    inbox_place: int = Field(default=-1, sa_type=BigInteger, sa_column_kwargs={"server_default": text("-1")})
    tables_mark: bytes | None = Field(default=None, sa_type=LargeBinary)  # of the deadline tables that measured


class ComplaintRow(LocalTable, table=True):
    """The state of one complaint after its last change, packed, and the parts of it that are asked for."""

    __tablename__ = "complaint"
    __table_args__ = (
        Index("complaint_by_state", "state", "no"),
        Index("complaint_by_source", "source_id", "source_system"),
        Index("complaint_by_owner", "owner", "no"),
        Index("complaint_offered", "offered_to", "no", sqlite_where=text("offered_to IS NOT NULL")),
        Index("complaint_unsettled", "no", sqlite_where=text("is_unsettled")),
        Index("complaint_by_due", "slot", "no", sqlite_where=text(IS_DUE)),
        Index("complaint_unmeasured", "no", sqlite_where=text("slot IS NULL")),
    )
    no: int | None = Field(default=None, primary_key=True)
    key: bytes = Field(sa_type=LargeBinary, unique=True)
    tracking: str = Field(index=True)
    source_system: str | None = None
    source_id: str | None = None
    state: int
    rev: int = Field(sa_type=BigInteger)
    unit: str | None = None
    received_at_ms: int = Field(sa_type=BigInteger)
    changed_at_ms: int = Field(sa_type=BigInteger)
    packed: bytes = Field(sa_type=LargeBinary)
    owner: str = Field(default="", sa_column_kwargs={"server_default": ""})
    offered_to: str | None = None
    # Something of ours has no receipt yet: where it stands among others' changes is not known.
    is_unsettled: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    clocks: bytes | None = Field(default=None, sa_type=LargeBinary)  # since when its duties run; None: not known yet
    slot: int | None = None  # what is due next (node/deadlines/slot.py); None: to be measured


class ChangeRow(LocalTable, table=True):
    """One change in the order of recording: its line, and its content line as long as we hold it."""

    __tablename__ = "change"
    __table_args__ = (Index("change_of_complaint", "complaint_no", "no"), {"sqlite_autoincrement": True})
    no: int | None = Field(default=None, primary_key=True)
    complaint_no: int
    line: bytes = Field(sa_type=LargeBinary)
    content: bytes | None = Field(default=None, sa_type=LargeBinary)


class ChangeSetRow(LocalTable, table=True):
    """One signed set. It covers the changes first_no … last_no; a heartbeat covers none (last_no = first_no - 1)."""

    __tablename__ = "change_set"
    __table_args__ = (
        Index("change_set_place", "epoch", "seq", unique=True, sqlite_where=text("status <> 2")),
        Index("change_set_by_seq", "seq"),
        Index("change_set_by_no", "first_no"),
        Index("change_set_by_idx", "idx"),
    )
    id: int | None = Field(default=None, primary_key=True)
    epoch: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
    digest: bytes = Field(sa_type=LargeBinary)
    kid: str
    first_no: int
    last_no: int
    changes: int
    size: int
    status: int  # 0 signed, 1 acknowledged, 2 withdrawn (signed, never accepted, cut anew under a higher epoch)
    at_ms: int = Field(sa_type=BigInteger)
    attempts: int = 0
    idx: int | None = Field(default=None, sa_type=BigInteger)
    receipt_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    hidden: int = 0
    erased: int = 0
    shown_again: int = 0
    manifest: bytes = Field(sa_type=LargeBinary)


class SetFramesRow(LocalTable, table=True):
    """The exact bytes of a set as they are pushed: two zstd frames."""

    __tablename__ = "set_frames"
    set_id: int = Field(primary_key=True)
    head: bytes = Field(sa_type=LargeBinary)
    contents: bytes = Field(sa_type=LargeBinary)


class SetReceiptRow(LocalTable, table=True):
    """The hub's receipt (tlog-proof) for a set, as it came, verified before it was stored."""

    __tablename__ = "set_receipt"
    set_id: int = Field(primary_key=True)
    receipt: bytes = Field(sa_type=LargeBinary)


class StatementRow(LocalTable, table=True):
    """Genesis, registrar rotations, statements about this agency: what a roster and a hub are refilled from."""

    __tablename__ = "statement"
    idx: int = Field(primary_key=True)
    digest: bytes = Field(sa_type=LargeBinary, unique=True)
    statement: bytes = Field(sa_type=LargeBinary)
    receipt: bytes | None = Field(default=None, sa_type=LargeBinary)


class AnswerRow(LocalTable, table=True):
    """What a request with an Idempotency-Key was answered, for ever: key and body as SHA-256."""

    __tablename__ = "answer"
    key: bytes = Field(primary_key=True, sa_type=LargeBinary)
    body: bytes = Field(sa_type=LargeBinary)
    answer: bytes = Field(sa_type=LargeBinary)
    at_ms: int = Field(sa_type=BigInteger)


class ApiTokenRow(LocalTable, table=True):
    """Bearer tokens of the intake, hashed."""

    __tablename__ = "api_token"
    hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    name: str = Field(index=True)
    created_at_ms: int = Field(sa_type=BigInteger)
    ended_at_ms: int | None = Field(default=None, sa_type=BigInteger)


class SetAsideRow(LocalTable, table=True):
    """A change of an old backup that is no longer legal after adoption: kept for the operator, never sent."""

    __tablename__ = "set_aside"
    id: int | None = Field(default=None, primary_key=True)
    at_ms: int = Field(sa_type=BigInteger)
    complaint: str
    change_id: str
    reason: str
    line: bytes = Field(sa_type=LargeBinary)
    content: bytes | None = Field(default=None, sa_type=LargeBinary)


class ErasureRow(LocalTable, table=True):
    """A content line, by leaf hash, that an `erased` change names and that is still held here."""

    __tablename__ = "erasure"
    leaf: bytes = Field(primary_key=True, sa_type=LargeBinary)
    complaint_no: int


class AttachmentRow(LocalTable, table=True):
    """A content line that names a file, by leaf hash, and how far that file came on its way to the hub.

    `sent_at_ms`: the hub had it then. The next attempt of one that was sent only asks whether the hub still has it.
    """

    __tablename__ = "attachment"
    leaf: bytes = Field(primary_key=True, sa_type=LargeBinary)
    change_no: int = Field(index=True)
    file: bytes = Field(sa_type=LargeBinary, index=True)
    size: int = Field(sa_type=BigInteger)
    sent_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    failures: int = 0
    failing_since_ms: int | None = Field(default=None, sa_type=BigInteger)
    attempted_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    next_attempt_at_ms: int = Field(default=0, sa_type=BigInteger, index=True)
    trouble: str | None = None


class UnnamedFileRow(LocalTable, table=True):
    """A file that was named by a line which was erased, and that is to go unless another line names it."""

    __tablename__ = "unnamed_file"
    file: bytes = Field(primary_key=True, sa_type=LargeBinary)


class ForeignSetRow(LocalTable, table=True):
    """What other agencies' sets show of a complaint: excerpt and receipt, as they came, verified before."""

    __tablename__ = "foreign_set"
    complaint_no: int = Field(primary_key=True)
    idx: int = Field(primary_key=True, sa_type=BigInteger)
    agency: str
    seq: int = Field(sa_type=BigInteger)
    lines: bytes = Field(sa_type=LargeBinary)
    receipt: bytes = Field(sa_type=LargeBinary)


class RefusalRow(LocalTable, table=True):
    """A change of ours that the log refused; `complaint_no` 0 where its complaint is not here."""

    __tablename__ = "refusal"
    __table_args__ = (Index("refusal_of_complaint", "complaint_no"),)
    place: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer, "sqlite"))
    complaint_no: int
    change_id: str
    verdict: str
    at_ms: int = Field(sa_type=BigInteger)


class ConnectorRow(LocalTable, table=True):
    """How far was looked for what another system is to be told: the number of a change, or of a foreign set."""

    __tablename__ = "connector"
    system: str = Field(primary_key=True)
    told_no: int


class ConnectorToldRow(LocalTable, table=True):
    """A change that another system was told of, ours or another agency's, by its id."""

    __tablename__ = "connector_told"
    system: str = Field(primary_key=True)
    change_id: str = Field(primary_key=True)


class SmsToldRow(LocalTable, table=True):
    """A change that the reporter was told of by SMS, by its id: numbers change with an adoption, ids never."""

    __tablename__ = "sms_told"
    change_id: str = Field(primary_key=True)
    at_ms: int = Field(sa_type=BigInteger)
