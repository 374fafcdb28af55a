"""The intake's side of a local node's store: complaints, histories, tokens, statements (see LocalStore)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, select, text, tuple_, update
from sqlalchemy.dialects.sqlite import insert

from node.deadlines.clocks import Duty
from node.deadlines.slot import NOTHING_DUE
from node.store.local_base import LocalBase, held_complaint
from node.store.local_records import (
    Answer,
    ApiToken,
    ComplaintFilter,
    HeldChange,
    HeldComplaint,
    HeldStatement,
    NodeIdentity,
    Seen,
    SetAside,
)
from node.store.local_tables import (
    IS_DUE,
    AnswerRow,
    ApiTokenRow,
    ChangeRow,
    ComplaintRow,
    NodeRow,
    SetAsideRow,
    StatementRow,
    table_of,
)
from node.store.local_transaction import find_last_sent_no, find_sources
from sync_protocol.complaint import State
from sync_protocol.errors import Refused
from sync_protocol.values import Digest

_COMPLAINT, _ANSWER = table_of(ComplaintRow), table_of(AnswerRow)
_CHANGE = table_of(ChangeRow)
_TOKEN, _NODE = table_of(ApiTokenRow), table_of(NodeRow)
_STATEMENT, _ASIDE = table_of(StatementRow), table_of(SetAsideRow)
_NODE_ID: Final = 1
LINES_OF_MAX: Final = 500  # complaints in one query: SQLite takes some thousand parameters
# The set of a change is found from the end of an index; asked for an unsent change, that would walk all of it.
_HISTORY: Final = """
SELECT change.no, change.line, change.content, change_set.seq, change_set.idx, refusal.verdict
FROM change LEFT JOIN change_set ON change.no <= :last_no AND change_set.id = (
    SELECT covering.id FROM change_set AS covering
    WHERE covering.first_no <= change.no AND covering.last_no >= change.no AND covering.status <> 2
    ORDER BY covering.first_no DESC LIMIT 1
)
LEFT JOIN refusal ON refusal.place = change_set.idx << 16 | change.no - change_set.first_no
WHERE change.complaint_no = :complaint_no ORDER BY change.no
"""


class LocalReading(LocalBase):
    """What people and programs ask, and the registers that seldom change."""

    async def complaint(self, key: bytes) -> HeldComplaint | None:
        rows = await self.read_rows(select(_COMPLAINT).where(_COMPLAINT.c.key == key))
        return held_complaint(rows[0]) if rows else None

    async def complaints(self, wanted: ComplaintFilter) -> list[HeldComplaint]:
        query = select(_COMPLAINT).limit(wanted.limit)
        if wanted.slots is not None:
            query = _due(query, wanted)
        else:
            query = query.order_by(_COMPLAINT.c.no if wanted.oldest_first else _COMPLAINT.c.no.desc())
        if wanted.states:
            query = query.where(_COMPLAINT.c.state.in_([int(state) for state in wanted.states]))
        if wanted.before_no is not None:
            query = query.where(_COMPLAINT.c.no < wanted.before_no)
        if wanted.not_owner is not None:
            query = query.where(_COMPLAINT.c.owner != wanted.not_owner)
        for bound in _bounds(wanted):
            query = query.where(bound)
        for column in ("unit", "source_system", "source_id", "tracking", "owner", "offered_to"):
            value = getattr(wanted, column)
            if value is not None:
                query = query.where(_COMPLAINT.c[column] == value)
        return [held_complaint(row) for row in await self.read_rows(query)]

    async def unmeasured(self, limit: int) -> list[HeldComplaint]:
        query = select(_COMPLAINT).where(_COMPLAINT.c.slot.is_(None)).order_by(_COMPLAINT.c.no).limit(limit)
        return [held_complaint(row) for row in await self.read_rows(query)]

    async def closing(self, last_slot: int, after: tuple[int, int] | None, limit: int) -> list[HeldComplaint]:
        query = _due(select(_COMPLAINT), ComplaintFilter(slots=(0, last_slot), after=after))
        closes = (_COMPLAINT.c.slot.op("&")(3) == int(Duty.CLOSE), _COMPLAINT.c.state == int(State.ANSWERED))
        return [held_complaint(row) for row in await self.read_rows(query.where(*closes).limit(limit))]

    async def measure_by(self, tables_mark: bytes) -> bool:
        if await self.read_scalar(select(_NODE.c.tables_mark)) == tables_mark:
            return False
        is_open = (_COMPLAINT.c.state < int(State.CLOSED), _COMPLAINT.c.slot.is_not(None))
        async with self.writing() as connection:
            await connection.execute(update(_COMPLAINT).where(*is_open).values(slot=None))
            await connection.execute(update(_NODE).values(tables_mark=tables_mark))
        return True

    async def complaint_changes(self, complaint_no: int) -> list[HeldChange]:
        async with self.readers.connect() as connection:
            query = text(_HISTORY).bindparams(complaint_no=complaint_no, last_no=await find_last_sent_no(connection))
            rows = (await connection.execute(query)).all()
        return [HeldChange(row.no, row.line, row.content, row.seq, row.idx, None, row.verdict) for row in rows]

    async def lines_of(self, complaint_nos: Collection[int]) -> dict[int, list[tuple[bytes, bytes | None]]]:
        lines: dict[int, list[tuple[bytes, bytes | None]]] = {}
        numbers = sorted(complaint_nos)
        async with self.readers.connect() as connection:
            for start in range(0, len(numbers), LINES_OF_MAX):
                wanted = _CHANGE.c.complaint_no.in_(numbers[start : start + LINES_OF_MAX])
                query = select(_CHANGE.c.complaint_no, _CHANGE.c.line, _CHANGE.c.content).where(wanted)
                for row in (await connection.execute(query.order_by(_CHANGE.c.no))).all():
                    lines.setdefault(row.complaint_no, []).append((row.line, row.content))
        return lines

    async def sources(self, sources: Collection[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        async with self.readers.connect() as connection:
            return await find_sources(connection, sources)

    async def answer(self, key: bytes) -> Answer | None:
        rows = await self.read_rows(select(_ANSWER).where(_ANSWER.c.key == key))
        return Answer(rows[0].key, rows[0].body, rows[0].answer, rows[0].at_ms) if rows else None

    async def set_aside(self) -> list[SetAside]:
        rows = await self.read_rows(select(_ASIDE).order_by(_ASIDE.c.id))
        return [SetAside(row.complaint, row.change_id, row.reason, row.at_ms, row.line, row.content) for row in rows]

    async def add_token(self, token: ApiToken) -> None:
        row = {"hash": token.hash, "name": token.name, "created_at_ms": token.created_at_ms}
        async with self.writing() as connection:
            await connection.execute(_TOKEN.insert().values(row))

    async def token(self, token_hash: bytes) -> ApiToken | None:
        rows = await self.read_rows(select(_TOKEN).where(_TOKEN.c.hash == token_hash))
        return ApiToken(rows[0].hash, rows[0].name, rows[0].created_at_ms, rows[0].ended_at_ms) if rows else None

    async def end_tokens(self, name: str, at_ms: int) -> int:
        ended = update(_TOKEN).where(_TOKEN.c.name == name, _TOKEN.c.ended_at_ms.is_(None)).values(ended_at_ms=at_ms)
        async with self.writing() as connection:
            return (await connection.execute(ended)).rowcount

    async def identity(self) -> NodeIdentity | None:
        rows = await self.read_rows(select(_NODE))
        if not rows:
            return None
        row = rows[0]
        return NodeIdentity(row.agency, row.origin, row.vkey, Digest(row.enrolment), row.enrolled_at_ms)

    async def enrol(self, identity: NodeIdentity, statements: Sequence[HeldStatement], seen: Seen) -> None:
        async with self.writing() as connection:
            held = (await connection.execute(select(_NODE))).first()
            if held is not None and (held.agency, held.origin) != (identity.agency, identity.origin):
                raise Refused(
                    "configuration",
                    f"this directory belongs to agency {held.agency} at {held.origin}",
                    members={"next": "Enrol in a new directory."},
                )
            common = {"vkey": identity.vkey, "enrolment": identity.enrolment}
            if held is None:
                await connection.execute(_NODE.insert().values(_first_row(identity, seen) | common))
            else:
                is_anew = held.enrolment != bytes(identity.enrolment)
                raised = {"epoch": _NODE.c.epoch + 1, "is_claimed": False} if is_anew else {}
                await connection.execute(update(_NODE).values(common | raised))
            await _add_statements(connection, statements)

    async def statements(self) -> list[HeldStatement]:
        rows = await self.read_rows(select(_STATEMENT).order_by(_STATEMENT.c.idx))
        return [_held_statement(row) for row in rows]

    async def add_statements(self, statements: Sequence[HeldStatement]) -> None:
        async with self.writing() as connection:
            await _add_statements(connection, statements)


def _bounds(wanted: ComplaintFilter) -> list[ColumnElement[bool]]:
    """The moments that are asked for."""
    received, changed = _COMPLAINT.c.received_at_ms, _COMPLAINT.c.changed_at_ms
    bounds = []
    if wanted.received_from_ms is not None:
        bounds.append(received >= wanted.received_from_ms)
    if wanted.received_to_ms is not None:
        bounds.append(received <= wanted.received_to_ms)
    if wanted.changed_from_ms is not None:
        bounds.append(changed >= wanted.changed_from_ms)
    return bounds


def _due(query: Select[Any], wanted: ComplaintFilter) -> Select[Any]:
    """Between slots, by the index of what is due."""
    first, last = wanted.slots or (0, NOTHING_DUE - 1)
    slot, number = max(wanted.after or (first, -1), (first, -1))
    place = tuple_(_COMPLAINT.c.slot, _COMPLAINT.c.no)
    return query.where(text(IS_DUE), place > (slot, number), _COMPLAINT.c.slot <= last).order_by(
        _COMPLAINT.c.slot, _COMPLAINT.c.no
    )


def _first_row(identity: NodeIdentity, seen: Seen) -> dict[str, Any]:
    return {
        "id": _NODE_ID,
        "agency": identity.agency,
        "origin": identity.origin,
        "enrolled_at_ms": identity.enrolled_at_ms,
        "epoch": 1,
        "seen_size": seen.size,
        "seen_root": seen.root,
        "seen_sig": seen.signature,
        "seen_note": seen.note,
        "failures": 0,
        "next_attempt_at_ms": 0,
    }


def _held_statement(row: Any) -> HeldStatement:
    receipt = None if row.receipt is None else row.receipt.decode("utf-8")
    return HeldStatement(row.idx, Digest(row.digest), row.statement.decode("ascii"), receipt)


async def _add_statements(connection: Any, statements: Sequence[HeldStatement]) -> None:
    for held in statements:
        row = insert(_STATEMENT).values(
            idx=held.index,
            digest=held.digest,
            statement=held.statement.encode("ascii"),
            receipt=None if held.receipt is None else held.receipt.encode("utf-8"),
        )
        add_receipt = {"receipt": row.excluded.receipt}
        lacking = _STATEMENT.c.receipt.is_(None)
        await connection.execute(row.on_conflict_do_update(index_elements=["idx"], set_=add_receipt, where=lacking))
