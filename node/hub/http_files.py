"""Files that changes name: brought by the agency that announced them, fetched by whom they concern (protocol §13.5)."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from node.files.http_answer import file_answer
from node.hub.files import HubFiles
from node.hub.http_auth import check_agency
from node.hub.http_requests import (
    HUB,
    admitted,
    agency_of,
    caller_of,
    identify,
    identify_for,
    json_answer,
    query_integer,
    read_body,
)
from sync_protocol.attachment import ContentRange
from sync_protocol.errors import Refused, malformed
from sync_protocol.limits import FILE_PIECE_MAX_BYTES
from sync_protocol.values import Digest
from sync_protocol.wire import FileArrival

FILES: Final = web.AppKey("files", HubFiles)


async def put_file(request: web.Request) -> web.Response:
    """`PUT …/files/{file}?seq=`: a piece, or the question how far it came. 200 all of it is here, 202 go on."""
    files, agency, file = _files(request), agency_of(request), Digest.parse(request.match_info["file"], "file")
    seq = query_integer(request, "seq", least=1)
    request.app[HUB].log.check_signing()  # a hub that lost sets does not know what they announced
    place = ContentRange.parse(request.headers.get("Content-Range", ""))
    caller = caller_of(request, agency)
    async with admitted(request, caller, FILE_PIECE_MAX_BYTES) as stay:
        body = await read_body(request, stay, FILE_PIECE_MAX_BYTES, request.app[HUB].options.body_timeout_s)
        check_agency(await identify(request, body=body or None), agency)
        if len(body) != place.size:
            raise malformed("the body has another length", "Content-Range")
        arrival = await files.take(agency, file, seq, place, body)
    if arrival is None:
        return json_answer(FileArrival(offset=place.length, length=place.length))
    return json_answer(arrival, status=202)


async def get_file(request: web.Request) -> web.StreamResponse:
    """`GET …/files/{file}`: as an attachment; who is shown somebody else's is recorded first."""
    files, agency, file = _files(request), agency_of(request), Digest.parse(request.match_info["file"], "file")
    reader = await identify_for(request, agency)
    named = await files.find(reader, agency, file)
    await files.verified(file)
    if reader.agency is None:
        hub = request.app[HUB]
        await hub.store.record_content_read(reader.name, f"{named.agency}/file {file.b64u}", hub.clock.now_ms())
    return await asyncio.to_thread(file_answer, files.store, file)


def _files(request: web.Request) -> HubFiles:
    found = request.app.get(FILES)
    if found is None:
        raise Refused("not-found", "this hub keeps no files")
    return found
