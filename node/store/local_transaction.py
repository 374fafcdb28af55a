"""One write transaction of a local node's store (node/local/ports.py LocalTransaction)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import LargeBinary, cast, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from node.store.local_base import SET_COLUMNS, driver_of, fetch, held_set, in_bunches, pack_clocks
from node.store.local_erasing import unannounced
from node.store.local_files import FORGET_ATTACHMENTS
from node.store.local_inbox import SqlInboxTransaction
from node.store.local_receipt import (
    ACKNOWLEDGE,
    MOVE_SEEN,
    SET_LAST_RECEIPT,
    UPSERT_RECEIPT,
    acknowledge_values,
    seen_values,
    what_a_receipt_moves,
)
from node.store.local_recording import COMPLAINTS, held_complaints, statements_of
from node.store.local_records import (
    Acknowledgement,
    AdoptedSet,
    ChainEnd,
    HeldChange,
    HeldComplaint,
    HeldSet,
    Measured,
    RowConflict,
    Seen,
    SetAside,
    SetStatus,
    SignedSet,
    WrittenChange,
    WrittenComplaint,
)
from node.store.local_tables import (
    ChangeRow,
    ChangeSetRow,
    ComplaintRow,
    ForeignSetRow,
    NodeRow,
    SetAsideRow,
    SetFramesRow,
    SetReceiptRow,
    table_of,
)
from sync_protocol.errors import Corrupt
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.values import Digest

_COMPLAINT, _CHANGE, _SET = table_of(ComplaintRow), table_of(ChangeRow), table_of(ChangeSetRow)
_FOREIGN = table_of(ForeignSetRow)
_FRAMES, _RECEIPT = table_of(SetFramesRow), table_of(SetReceiptRow)
_ASIDE, _NODE = table_of(SetAsideRow), table_of(NodeRow)

_LIVE: Final = _SET.c.status != SetStatus.WITHDRAWN
INSERT_SET: Final = (
    "INSERT INTO change_set (epoch, seq, digest, kid, first_no, last_no, changes, size, at_ms, manifest, status,"
    " attempts, hidden, erased, shown_again) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0) RETURNING id"
)
_INSERT_ADOPTED: Final = (
    "INSERT INTO change_set (id, epoch, seq, digest, kid, first_no, last_no, changes, size, at_ms, manifest, idx,"
    " receipt_at_ms, hidden, erased, status, attempts, shown_again)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 0, 0)"
)
INSERT_FRAMES: Final = "INSERT INTO set_frames (set_id, head, contents) VALUES (?, ?, ?)"
_CHAIN_END: Final = (
    "SELECT seq, epoch, digest, last_no FROM change_set WHERE status <> 2 AND seq <= ? ORDER BY seq DESC LIMIT 1"
)
_WORDLESS: Final = "SELECT no, line FROM change WHERE no > ? AND content IS NULL"
LIVE_SET: Final = f"SELECT {SET_COLUMNS} FROM change_set WHERE seq = ? AND status <> 2"  # noqa: S608 - constants


class SqlLocalTransaction(SqlInboxTransaction):
    """See LocalTransaction. Lives no longer than the connection's transaction."""

    async def complaints(self, keys: Collection[bytes]) -> dict[bytes, HeldComplaint]:
        found: dict[bytes, HeldComplaint] = {}
        for bunch in in_bunches(keys):
            found.update(held_complaints(await self._fetch(COMPLAINTS, bunch)))
        return found

    async def record(self, complaints: Sequence[WrittenComplaint], changes: Sequence[WrittenChange]) -> None:
        for statement, rows in statements_of(complaints, changes):
            await self._many(statement, rows)

    async def measure(self, measured: Sequence[Measured]) -> None:
        rows = [(pack_clocks(one.clocks), one.slot, one.no, one.rev) for one in measured]
        await self._many("UPDATE complaint SET clocks = ?, slot = ? WHERE no = ? AND rev = ?", rows)

    async def last_no(self) -> int:
        given = await fetch(self._connection, "SELECT seq FROM sqlite_sequence WHERE name = 'change'")
        return int(given[0][0]) if given else 0

    async def chain_end(self, up_to_seq: int | None = None) -> ChainEnd:
        return await find_chain_end(self._connection, up_to_seq)

    async def live_set(self, seq: int) -> HeldSet | None:
        return await find_live_set(self._connection, seq)

    async def changes(self, after_no: int) -> list[tuple[HeldChange, bytes]]:
        query = (
            select(_CHANGE.c.no, _CHANGE.c.line, _CHANGE.c.content, _COMPLAINT.c.key)
            .join(_COMPLAINT, _COMPLAINT.c.no == _CHANGE.c.complaint_no)
            .where(_CHANGE.c.no > after_no)
            .order_by(_CHANGE.c.no)
        )
        return [(HeldChange(row.no, row.line, row.content), row.key) for row in await self._rows(query)]

    async def history(self, keys: Collection[bytes], up_to_no: int) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        for bunch in in_bunches(keys):
            query = (
                select(_COMPLAINT.c.key, _CHANGE.c.line)
                .join(_COMPLAINT, _COMPLAINT.c.no == _CHANGE.c.complaint_no)
                .where(_COMPLAINT.c.key.in_(bunch), _CHANGE.c.no <= up_to_no)
                .order_by(_CHANGE.c.no)
            )
            found += [(row.key, row.line) for row in await self._rows(query)]
        return found

    async def forget_changes(self, after_no: int, complaints: Collection[bytes]) -> None:
        await self._connection.execute(delete(_CHANGE).where(_CHANGE.c.no > after_no))
        await fetch(self._connection, FORGET_ATTACHMENTS, (after_no,))
        for bunch in in_bunches(complaints):
            kept = select(_CHANGE.c.complaint_no).where(_CHANGE.c.complaint_no == _COMPLAINT.c.no).exists()
            others = select(_FOREIGN.c.complaint_no).where(_FOREIGN.c.complaint_no == _COMPLAINT.c.no).exists()
            await self._connection.execute(delete(_COMPLAINT).where(_COMPLAINT.c.key.in_(bunch), ~kept, ~others))

    async def withdraw_sets(self, from_seq: int) -> int:
        done = await self._connection.execute(
            update(_SET)
            .where(_SET.c.seq >= from_seq, _SET.c.status == SetStatus.SIGNED)
            .values(status=SetStatus.WITHDRAWN)
        )
        end = await self.chain_end()
        wordless = await fetch(self._connection, _WORDLESS, (end.last_no,))
        anew = [(left, no) for no, line in wordless if (left := unannounced(line)) != line]
        await self._many("UPDATE change SET line = ? WHERE no = ?", anew)
        return done.rowcount

    async def add_adopted(self, sets: Sequence[AdoptedSet]) -> None:
        ((newest_id,),) = await fetch(self._connection, "SELECT coalesce(max(id), 0) FROM change_set")
        numbered = list(enumerate(sets, newest_id + 1))
        rows = [(number, *_adopted_values(one)) for number, one in numbered]
        try:
            await self._many(_INSERT_ADOPTED, rows)
        except RowConflict:
            raise signed_before(sets[0].signed.epoch, sets[0].signed.seq) from None
        frames = [(number, one.signed.head_frame, one.signed.contents_frame) for number, one in numbered]
        await self._many(INSERT_FRAMES, frames)
        await self._many(UPSERT_RECEIPT, [(number, one.receipt.receipt) for number, one in numbered])
        if sets:
            await fetch(self._connection, SET_LAST_RECEIPT, (sets[-1].receipt.at_ms,))

    async def acknowledge(self, receipt: Acknowledgement) -> bool:
        found = await fetch(self._connection, ACKNOWLEDGE, acknowledge_values(receipt))
        for statement, values in what_a_receipt_moves(receipt, found[0][0]) if found else ():
            await fetch(self._connection, statement, values)
        return bool(found)

    async def set_epoch(self, epoch: int) -> None:
        await self._connection.execute(update(_NODE).values(epoch=func.max(_NODE.c.epoch, epoch), is_claimed=False))

    async def disown_epoch(self) -> None:
        await self._connection.execute(update(_NODE).values(is_claimed=False))

    async def note_adoption(self, at_ms: int) -> None:
        await self._connection.execute(update(_NODE).values(adopted_at_ms=at_ms))

    async def add_set_aside(self, changes: Sequence[SetAside]) -> None:
        rows = [
            {
                "at_ms": change.at_ms,
                "complaint": change.complaint,
                "change_id": change.change_id,
                "reason": change.reason,
                "line": change.line,
                "content": change.content,
            }
            for change in changes
        ]
        if rows:
            await self._connection.execute(_ASIDE.insert(), rows)

    async def _rows(self, query: Any) -> Sequence[Any]:
        return (await self._connection.execute(query)).all()

    async def _fetch(self, query: str, values: Sequence[Any]) -> list[Any]:
        """Rows for `… IN (values)`."""
        return await fetch(self._connection, query.format(", ".join("?" * len(values))), values)

    async def _many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """The driver's bulk call, within the transaction."""
        if not rows:
            return
        driver = driver_of(await self._connection.get_raw_connection())
        try:
            await driver.executemany(statement, rows)
        except sqlite3.IntegrityError as error:
            raise RowConflict(str(error)) from None


def _adopted_values(adopted: AdoptedSet) -> tuple[Any, ...]:
    """What _INSERT_ADOPTED takes after the id."""
    receipt = adopted.receipt
    values = set_values(adopted.signed, adopted.first_no, adopted.last_no)
    return (*values, receipt.index, receipt.at_ms, receipt.hidden, receipt.erased)


def set_values(signed: SignedSet, first_no: int, last_no: int) -> tuple[Any, ...]:
    """What INSERT_SET takes."""
    place = (signed.epoch, signed.seq, signed.digest, signed.kid)
    extent = (first_no, last_no, signed.changes, signed.size)
    return (*place, *extent, signed.at_ms, signed.manifest.encode("ascii"))


async def find_chain_end(connection: AsyncConnection, up_to_seq: int | None = None) -> ChainEnd:
    """The newest live set (of those up to a seq); before the first, the newest enrolment of this agency."""
    found = await fetch(connection, _CHAIN_END, (INTEGER_MAX if up_to_seq is None else up_to_seq,))
    if found:
        seq, epoch, digest, last_no = found[0]
        return ChainEnd(seq, epoch, Digest(digest), last_no)
    node = await fetch(connection, "SELECT enrolment FROM node")
    if not node:
        raise not_enrolled()
    return ChainEnd(0, 1, Digest(node[0][0]), 0)


async def find_live_set(connection: AsyncConnection, seq: int) -> HeldSet | None:
    """The set of that seq that was not withdrawn."""
    found = await fetch(connection, LIVE_SET, (seq,))
    return held_set(found[0]) if found else None


def signed_before(epoch: int, seq: int) -> Corrupt:
    """A place in the chain that has its set."""
    return Corrupt(
        f"a set of epoch {epoch}, seq {seq} was signed before",
        next_step="Nothing was signed twice. Start the node again; if this stays, run `simpul node recover`.",
    )


def frames_gone() -> Corrupt:
    """Of a set that is asked for after its time."""
    return Corrupt("the bytes of a set are not kept any more", next_step="Use a copy of the hub's export.")


def not_enrolled() -> Corrupt:
    """For questions that make no sense before the enrolment."""
    return Corrupt("this node is not enrolled", next_step="Run `simpul node enrol`.")


async def find_last_sent_no(connection: AsyncConnection) -> int:
    """The last change that is in a live set, 0 before the first set."""
    query = select(_SET.c.last_no).where(_LIVE).order_by(_SET.c.seq.desc()).limit(1)
    return int((await connection.execute(query)).scalar() or 0)


async def find_sources(
    connection: AsyncConnection, sources: Collection[tuple[str, str]]
) -> dict[tuple[str, str], bytes]:
    """Key of a complaint for each (system, id) that has one; of several our own, or else the first."""
    own = func.substr(_COMPLAINT.c.key, 17) == cast(select(_NODE.c.agency).scalar_subquery(), LargeBinary)
    found: dict[tuple[str, str], bytes] = {}
    for bunch in in_bunches(sources):
        wanted = [(number, system) for system, number in bunch]
        query = (
            select(_COMPLAINT.c.source_system, _COMPLAINT.c.source_id, _COMPLAINT.c.key)
            .where(tuple_(_COMPLAINT.c.source_id, _COMPLAINT.c.source_system).in_(wanted))
            .order_by(own, _COMPLAINT.c.no.desc())  # the last one stays
        )
        rows = (await connection.execute(query)).all()
        found.update(((row.source_system, row.source_id), row.key) for row in rows)
    return found


async def move_seen(connection: AsyncConnection, seen: Seen) -> None:
    """The checkpoint, unless a newer one is there."""
    await fetch(connection, MOVE_SEEN, seen_values(seen))
