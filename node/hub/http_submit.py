"""What enters the log: change sets, enrolments, statements; and what a node says to a restored hub (protocol §7)."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from node.hub.draft import Place, Prepared
from node.hub.http_auth import check_agency
from node.hub.http_requests import (
    ADMISSION,
    HUB,
    SMALL_BODY_MAX_BYTES,
    admitted,
    agency_of,
    caller_of,
    give_pass,
    identify,
    integer,
    json_answer,
    query_integer,
    read_body,
)
from node.hub.hub import Hub
from node.hub.intake import FirstLook
from node.hub.recovery import hear_recovery
from node.hub.turns import Caller
from node.web.callers import address_of
from sync_protocol.change_set import MANIFEST_LINE_MAX_BYTES, parse_manifest_line
from sync_protocol.compression import peek_head
from sync_protocol.limits import WIRE_MAX_BYTES
from sync_protocol.values import AgencyId, b64_encode
from sync_protocol.wire import (
    BODY_MAX_BYTES,
    Consistency,
    EnrolmentRequest,
    Entered,
    RecoveryRequest,
    StatementLine,
    StatementRequest,
    parse_body,
)


async def put_change_set(request: web.Request) -> web.Response:
    """`PUT /v1/agencies/{agency}/change-sets/{seq}`: 201 new, 200 repeat."""
    hub = request.app[HUB]
    agency, seq = agency_of(request), integer(request.match_info["seq"], "seq", least=1)
    if hub.log.broken is None and hub.log.recovering is not None:
        return await take_lines(request, agency, seq)
    hub.log.check_signing()
    from_size = query_integer(request, "from", default=0)
    caller, encoding = caller_of(request, agency), request.headers.get("Content-Encoding")
    async with admitted(request, caller, WIRE_MAX_BYTES) as stay:

        async def look(part: bytes) -> bool:
            first = await hub.intake.first_look(agency, seq, part, encoding, caller)
            if first is not FirstLook.HELD:
                vouched = replace(caller, is_proven=caller.is_proven or first is FirstLook.SIGNED)
                await request.app[ADMISSION].grow(stay, vouched, request.content_length or WIRE_MAX_BYTES)
            return first is not FirstLook.HELD

        # Not named here: the intake alone holds the body, and lets go of it.
        taken = await hub.intake.submit(
            agency,
            seq,
            await read_body(request, stay, WIRE_MAX_BYTES, hub.options.body_timeout_s, look),
            encoding,
            caller,
        )
        if not taken.place.is_new:
            await request.app[ADMISSION].repay(stay)
    if taken.place.is_new:
        give_pass(request, agency)
    answer = await entered(hub, taken.place, from_size, hidden=taken.hidden, erased=taken.erased)
    return json_answer(answer, status=201 if taken.place.is_new else 200)


async def take_lines(request: web.Request, agency: AgencyId, seq: int) -> web.Response:
    """A set pushed to a recovering hub (§10.6): 202 if it was in the log that was lost."""
    hub = request.app[HUB]
    caller, encoding = caller_of(request, agency), request.headers.get("Content-Encoding")
    async with admitted(request, caller, WIRE_MAX_BYTES) as stay:

        async def look(part: bytes) -> bool:
            submission = parse_manifest_line(peek_head(part, encoding, MANIFEST_LINE_MAX_BYTES))
            await hub.gathering.check_wanted(agency, seq, submission)
            await request.app[ADMISSION].grow(stay, caller, request.content_length or WIRE_MAX_BYTES)
            return True

        body = await read_body(request, stay, WIRE_MAX_BYTES, hub.options.body_timeout_s, look)
        await hub.gathering.take_lines(agency, seq, body, encoding)
    return json_answer(await hub.gathering.answer(agency), status=202)


async def post_enrolment(request: web.Request) -> web.Response:
    """`POST /v1/enrolments`: the same token and key get the same answer."""
    hub = request.app[HUB]
    body = await _small_body(request)
    asked = parse_body(body, EnrolmentRequest, max_bytes=SMALL_BODY_MAX_BYTES)
    place = await hub.enrolments.enrol(asked)
    lines = [
        StatementLine(
            index=logged.index,
            statement=logged.jws.text,
            receipt=await hub.log.receipt(logged.index, place.checkpoint),
        )
        for logged in hub.log.roster.statements_for(AgencyId.parse(asked.agency))
        if logged.index <= place.index
    ]
    return json_answer(await entered(hub, place, 0, statements=lines), status=201 if place.is_new else 200)


async def post_statement(request: web.Request) -> web.Response:
    """`POST /v1/statements`: an agency's rotation or revocation, signed by itself."""
    hub = request.app[HUB]
    hub.log.check_signing()
    body = await _small_body(request)
    text = parse_body(body, StatementRequest, max_bytes=SMALL_BODY_MAX_BYTES).statement
    index = await hub.statements.first_look(text)
    if index is not None:
        return json_answer(await entered(hub, Place(index, hub.log.published, is_new=False), 0))

    async def prepare() -> Prepared | int:
        return await hub.statements.submitted(text)

    place = await hub.appender.append_statement(prepare)
    return json_answer(await entered(hub, place, 0), status=201 if place.is_new else 200)


async def _small_body(request: web.Request, limit: int = SMALL_BODY_MAX_BYTES) -> bytes:
    """Of a stranger: who it is stands in the body. Calls of each kind take turns with the others'."""
    caller = Caller(f"{request.method} {request.path}", address_of(request) or "")
    async with admitted(request, caller, limit) as stay:

        async def look(_part: bytes) -> bool:
            await request.app[ADMISSION].grow(stay, caller, request.content_length or limit)
            return True

        return await read_body(request, stay, limit, request.app[HUB].options.body_timeout_s, look)


async def post_recovery(request: web.Request) -> web.Response:
    """`POST /v1/recovery`: what a node holds that this hub may have lost (§10.6)."""
    hub = request.app[HUB]
    body = await _small_body(request, BODY_MAX_BYTES)
    # While recovering it may not know who asks any more, and believes receipts alone.
    reader = await identify(request, body=body) if hub.log.recovering is None else None
    asked = parse_body(body, RecoveryRequest)
    agency = AgencyId.parse(asked.agency)
    if reader is not None:
        check_agency(reader, agency)
    return json_answer(await hear_recovery(hub.log, hub.gathering, asked))


async def entered(
    hub: Hub,
    place: Place,
    from_size: int,
    *,
    hidden: int = 0,
    erased: int = 0,
    statements: list[StatementLine] | None = None,
) -> Entered:
    """§7.2. A caller that knows a larger log than the receipt's gets no hashes: its own `seen` is the evidence."""
    size = place.checkpoint.size
    known = from_size if from_size <= size else 0
    hashes = await hub.log.consistency(known, size) if known else []
    return Entered(
        index=place.index,
        receipt=await hub.log.receipt(place.index, place.checkpoint),
        checkpoint=place.checkpoint.note.decode("utf-8"),
        consistency=Consistency(from_size=known, hashes=[b64_encode(part) for part in hashes]),
        hidden=hidden,
        erased=erased,
        statements=statements,
    )
