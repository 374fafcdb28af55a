"""What an agency reads of its own, and an auditor of everybody's (protocol §7.1)."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from node.hub.export import hide_frame
from node.hub.http_auth import Reader
from node.hub.http_requests import HUB, agency_of, identify_for, integer, json_answer, query_integer
from node.hub.hub import Hub
from node.store.hub_records import StoredSet
from sync_protocol.compression import decompress_part
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.roster_state import AgencyRecord
from sync_protocol.set_pages import PAGE_BYTES, PAGE_SETS_MAX, SET_PAGE_MEDIA_TYPE, PagedSet, format_page
from sync_protocol.transitions import Verdict
from sync_protocol.values import AgencyId, b64u_encode
from sync_protocol.wire import (
    CHANGE_SET_MEDIA_TYPE,
    HeadAnswer,
    Key,
    KeySet,
    RefusedChange,
    SetVerdicts,
    StatementLine,
    VerdictPage,
)

VERDICTS_PAGE: Final = 500  # sets in one answer
REFUSED_PAGE_MAX: Final = 20_000  # refused changes in one answer; a page ends early rather than grow without bound


async def get_head(request: web.Request) -> web.Response:
    """`GET …/head`."""
    hub, agency = request.app[HUB], agency_of(request)
    await identify_for(request, agency)
    record = _record(hub, agency)
    head, stored, published = hub.log.heads.get(agency), hub.log.stored_heads.get(agency), hub.log.published
    answer = HeadAnswer(
        agency=str(agency),
        epoch=1 if head is None else head.epoch,
        seq=0 if head is None else head.seq,
        digest=(record.enrolment if head is None else head.digest).b64u,
        statement=record.last_statement.b64u,
        checkpoint=published.note.decode("utf-8"),
        manifest=None if head is None or head.manifest is None else head.manifest.jws.text,
        kid=record.kid,
        receipt=None if stored is None else await hub.log.receipt(stored.index, published),
        wanted=(await hub.gathering.answer(agency)).wanted,
    )
    return json_answer(answer)


async def get_change_set(request: web.Request) -> web.Response:
    """`GET …/change-sets/{seq}`: two zstd frames, or plain lines for a caller that names no encoding."""
    hub, agency = request.app[HUB], agency_of(request)
    reader = await identify_for(request, agency)
    stored = await _find_set(hub, agency, integer(request.match_info["seq"], "seq", least=1))
    frames = await _frames_for(hub, reader, stored, await hub.store.set_parts(stored.index))
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding", "Content-Type": CHANGE_SET_MEDIA_TYPE}
    if request.headers.get("Accept-Encoding", "identity").strip() in {"identity", ""}:
        return web.Response(body=await asyncio.to_thread(_plain, frames), headers=headers)
    return web.Response(body=b"".join(frames), headers={**headers, "Content-Encoding": "zstd"})


async def _frames_for(
    hub: Hub, reader: Reader, stored: StoredSet, parts: tuple[bytes, bytes] | None
) -> tuple[bytes, bytes]:
    """The set as this reader may see it; who is shown somebody else's content is recorded first."""
    if parts is None and stored.is_missing:
        raise Refused("not-found", "the lines of this set were lost, and are waited for")
    if parts is None:
        raise Corrupt(f"the lines of {stored.agency} seq {stored.seq} are missing in the database")
    changes, contents = parts
    if reader.agency is not None or not contents:
        return changes, contents
    if reader.with_content:
        await hub.store.record_content_read(reader.name, f"{stored.agency}/{stored.seq}", hub.clock.now_ms())
        return changes, contents
    return changes, await asyncio.to_thread(hide_frame, changes, contents)


async def get_change_sets(request: web.Request) -> web.Response:
    """`GET …/change-sets?from=`: many in one answer, each with its receipt (set_pages.py); none beyond the head."""
    hub, agency = request.app[HUB], agency_of(request)
    reader = await identify_for(request, agency)
    from_seq, published = query_integer(request, "from", least=1), hub.log.published
    page: list[PagedSet] = []
    left = PAGE_BYTES
    for stored, parts in await hub.store.sets_from(agency, from_seq, PAGE_SETS_MAX, PAGE_BYTES):
        if stored.index >= published.size or (parts is None and page):
            break
        frames = await _frames_for(hub, reader, stored, parts)
        receipt = await hub.log.receipt(stored.index, published)
        page.append(PagedSet(receipt.encode("utf-8"), b"".join(frames)))
        left -= page[-1].page_bytes
        if left <= 0:
            break
    headers = {"Cache-Control": "no-store", "Content-Type": SET_PAGE_MEDIA_TYPE}
    return web.Response(body=format_page(page), headers=headers)


def _plain(frames: tuple[bytes, bytes]) -> bytes:
    return b"".join(decompress_part(frame) for frame in frames)


async def get_receipt(request: web.Request) -> web.Response:
    """`GET …/change-sets/{seq}/receipt`: tlog-proof at the newest checkpoint."""
    hub, agency = request.app[HUB], agency_of(request)
    await identify_for(request, agency)
    stored = await _find_set(hub, agency, integer(request.match_info["seq"], "seq", least=1))
    receipt = await hub.log.receipt(stored.index, hub.log.published)
    return web.Response(text=receipt, content_type="text/plain", headers={"Cache-Control": "no-store"})


async def get_keys(request: web.Request) -> web.Response:
    """`GET …/keys`: every signing key the agency ever had, with the log indices between which it speaks."""
    hub, agency = request.app[HUB], agency_of(request)
    await hub.log.follow()
    _record(hub, agency)
    keys = [
        Key(
            x=b64u_encode(key.public_key),
            kid=key.kid,
            from_index=key.from_index,
            until_index=key.until_index,
            disputed_from=key.disputed_from,
        )
        for key in hub.log.roster.keys_of(agency)
    ]
    return json_answer(KeySet(keys=keys))


async def get_statements(request: web.Request) -> web.Response:
    """`GET …/statements`: genesis, registrar and log rotations, and what concerns the agency, each with its receipt.

    Who is to be enrolled asks too, to prove the log before its token is sent.
    """
    hub, agency = request.app[HUB], agency_of(request)
    await hub.log.follow()
    if hub.log.recovering is not None and hub.log.roster.agency(agency) is None:
        raise Refused("unknown-agency", f"{agency} is not enrolled in what is left of the log", where="agency")
    logged, published = hub.log.roster.statements_for(agency), hub.log.published
    lines: list[object] = [
        StatementLine(index=one.index, statement=one.jws.text, receipt=await hub.log.receipt(one.index, published))
        for one in logged
    ]
    return json_answer(lines)


async def get_verdicts(request: web.Request) -> web.Response:
    """`GET …/verdicts?from=`: what the fold refused, set by set, as far as it came."""
    hub, agency = request.app[HUB], agency_of(request)
    await identify_for(request, agency)
    _record(hub, agency)
    from_seq = query_integer(request, "from", default=1, least=1)
    cursor = await hub.projection.cursor()
    stored = await hub.store.sets_of(agency, from_seq, VERDICTS_PAGE)
    folded = [one for one in stored if one.index < cursor.size]
    sets: list[SetVerdicts] = []
    total = 0
    for one in folded:
        refused = await hub.projection.refused(agency, one.seq, one.seq) if one.changes else []
        total += len(refused)
        if sets and total > REFUSED_PAGE_MAX:
            break
        lines = [
            RefusedChange(position=line.position, id=line.change_id, verdict=Verdict(line.verdict).label)
            for line in refused
        ]
        sets.append(SetVerdicts(seq=one.seq, index=one.index, refused=lines))
    return json_answer(VerdictPage(sets=sets, next=sets[-1].seq + 1 if sets else from_seq))


def _record(hub: Hub, agency: AgencyId) -> AgencyRecord:
    record = hub.log.roster.agency(agency)
    if record is None:
        raise Refused("not-found", f"{agency} is not enrolled", where="agency")
    return record


async def _find_set(hub: Hub, agency: AgencyId, seq: int) -> StoredSet:
    """A set that is published. Raises Refused(not-found)."""
    stored = (await hub.store.find_sets([(agency, seq)])).get((agency, seq))
    if stored is None or stored.index >= hub.log.size:
        raise Refused("not-found", f"there is no set {seq} of {agency}", where="seq")
    return stored
