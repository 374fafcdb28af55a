"""Wiring of the national desk's commands: escalations, and what the desk does with a complaint of another agency."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from node.files.disk import write_whole
from node.link.hub_client import HubClient
from node.local.abroad import Abroad
from node.local.api_commands import change_command
from node.local.api_types import ANY_CHANGE_REQUEST
from node.local.escalation_book import EscalationBook
from node.local.escalation_types import Escalation
from node.local.escalation_watch import EscalationWatch
from node.local.evidence import find_complaint
from node.local.http_requests import convert
from node.local.hub_evidence import roster_of
from node.local.recording import CHANGE_REFUSED
from node.wiring.escalations import book_of, watch_of
from node.wiring.local import NodeParts, opened
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.evidence import open_evidence
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.note import VerifierKey
from sync_protocol.transitions import Verdict

TURN_PAUSE_S: Final = 0.2
TURNS_MAX: Final = 50  # ten seconds for a look of the serving process; then its list is shown as far as it is
NEXT: Final = (
    "See `simpul node escalations DIR`: the complaints, by number, and under `recall` whether they may be taken back"
    " (declined too often, or its owner silent). Only what is the desk's own can be directed."
)


@dataclass(frozen=True, slots=True)
class Desk:
    """What the commands share, at a node that is the desk."""

    parts: NodeParts
    link: HubClient
    book: EscalationBook
    watch: EscalationWatch


@asynccontextmanager
async def _desk_of(directory: Path) -> AsyncIterator[Desk]:
    """Raises Refused(not-desk), also by rules that the hub has only now; where it is away those that are held count."""
    async with opened(directory) as parts:
        link = parts.link()
        try:
            book = book_of(parts)
            watch = watch_of(parts, link, book)
            if not await watch.is_desk():
                await watch.learn_rules()
            book.check_desk()
            yield Desk(parts, link, book, watch)
        finally:
            await link.close()


async def escalations(directory: Path, *, limit: int, evidence: Path | None) -> dict[str, Any]:
    """`simpul node escalations`: a look, then what there is. `reached` says whether the hub answered."""
    async with _desk_of(directory) as desk:
        reached = await _look(desk)
        page = await desk.book.page(None, limit)
        document: dict[str, Any] = msgspec.to_builtins(page)
        document |= {"reached": reached}
        if evidence is not None:
            vkey = roster_of(await desk.parts.store.statements()).log_key_at(INTEGER_MAX)
            document["written"] = await asyncio.to_thread(_write_bundles, desk.book, page.items, evidence, vkey)
        return document


async def _look(desk: Desk) -> bool:
    """Whether the hub answered. While the serving process looks, its look is waited for."""
    try:
        for _ in range(TURNS_MAX):
            if await desk.watch.look():
                break
            await asyncio.sleep(TURN_PAUSE_S)
    except Unavailable:
        return False  # why is told with the list
    except Refused:
        desk.book.check_desk()  # another agency is the desk by now
        raise
    return True


def _write_bundles(
    book: EscalationBook, escalations: list[Escalation], out: Path, vkey: VerifierKey
) -> list[dict[str, Any]]:
    """Copies for whoever asks for proof, each verified once more as it leaves. A file that is there is left alone."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for one in escalations:
        base = one.complaint.replace(":", "_")
        if one.evidence.file is not None:
            target = out / f"{base}.rev{one.evidence.rev}.json"
            written.append(_write_bundle(one, book.folder / one.evidence.file, target, vkey))
        if one.finding is not None and one.finding.file is not None:
            target = out / f"{base}.not-verified.{one.finding.at.replace(':', '')}.json"
            written.append(_write_bundle(one, book.folder / one.finding.file, target, vkey))
    return written


def _write_bundle(one: Escalation, kept: Path, target: Path, vkey: VerifierKey) -> dict[str, Any]:
    written: dict[str, Any] = {"complaint": one.complaint, "file": str(target)}
    try:
        if not target.exists():
            write_whole(target, kept.read_bytes())
        _verify_copy(target, one, vkey)
    except FileNotFoundError:
        return {**written, "verified": False, "finding": "the bundle is gone: the next look brings it again"}
    except Refused as refused:
        return {**written, "verified": False, "finding": str(refused)}
    return {**written, "verified": True, "finding": None}


def _verify_copy(copy: Path, one: Escalation, vkey: VerifierKey) -> None:
    complaint = open_evidence(copy.read_bytes(), vkey).complaint
    if complaint != one.complaint:
        raise Refused("bad-proof", f"the evidence is of {complaint}")


async def recall(directory: Path, complaint: str, *, reason: str, note: str | None) -> dict[str, Any]:
    """`simpul node recall`."""
    return await _change(directory, complaint, {"type": "recalled", "reason": reason, "note": note})


async def direct(directory: Path, complaint: str, *, to: str, reason: str, note: str | None) -> dict[str, Any]:
    """`simpul node direct`."""
    return await _change(directory, complaint, {"type": "directed", "to": to, "reason": reason, "note": note})


async def _change(directory: Path, complaint: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Recorded as by the API, and sent by `serve` or the next push.

    Raises Refused, and Unavailable where it depends on a word of the hub that could not be had.
    """
    request = convert({name: value for name, value in fields.items() if value is not None}, ANY_CHANGE_REQUEST)
    change_type = str(fields["type"])
    async with _desk_of(directory) as desk, desk.parts.service() as service:
        parts = desk.parts
        wanted = await _id_of(desk.book, complaint)
        abroad = Abroad(parts.inbox(desk.link), parts.federation, desk.link, desk.link)
        await abroad.prepare(fields, wanted)
        try:
            held = await find_complaint(parts.store, wanted)
            outcome = await service.record(change_command(request, str(held.id)))
        except Refused as refused:
            waits = refused.members.get("verdict") == Verdict.NOT_YET.label or refused.kind == "not-found"
            if change_type == "recalled" and waits and not parts.federation.knows_silence:
                detail = "the hub, which knows who is silent and shows what is to be recalled, does not answer"
                raise Unavailable(f"{detail}; nothing was recorded") from None
            raise _explained(refused) from None
        recorded: dict[str, Any] = msgspec.to_builtins(outcome.recorded)
        return recorded


def _explained(refused: Refused) -> Refused:
    """With the next step of whoever sits at a command line."""
    if refused.kind not in (CHANGE_REFUSED, "not-found"):
        return refused
    return Refused(refused.kind, refused.detail, where=refused.where, members={**refused.members, "next": NEXT})


async def _id_of(book: EscalationBook, wanted: str) -> str:
    """A tracking number that an escalation has, as its complaint id: what was never here has no other name here."""
    held = await asyncio.to_thread(book.load)
    found = [one.complaint for one in held.escalations if wanted in (one.complaint, one.tracking)]
    return found[0] if found else wanted
