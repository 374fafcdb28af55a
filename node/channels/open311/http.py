"""GeoReport over HTTP, at `/open311/v2` and `/open311/discovery`: a handler reads, calls the endpoint, writes.

One handler for everything under these addresses: what is wrong is told in GeoReport's form, whatever the address.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from node.channels.open311.documents import MEDIA_TYPES
from node.channels.open311.endpoint import DISCOVERY, Answer, Call, Endpoint, failed
from sync_protocol.errors import malformed

ROOT: Final = "/open311/"
V2: Final = ROOT + "v2/"
# With line breaks, which a full stop would not match: what is strange is refused here as well, in GeoReport's form.
PATHS: Final = (V2 + r"{tail:[\s\S]*}", ROOT + DISCOVERY + ".{tail}")
KEY_MAX_CHARACTERS: Final = 255  # as the intake's own Idempotency-Key
KEY: Final = "Idempotency-Key"
_KEY: Final = re.compile(f"[ -~]{{1,{KEY_MAX_CHARACTERS}}}")
_TROUBLE: Final = "this service has a trouble of its own and its operator was told: send the same request again later"
FORM: Final = "application/x-www-form-urlencoded"

ReadBody = Callable[[web.Request], Awaitable[bytes]]
Rescue = Callable[[Exception], web.Response]


def add_routes(app: web.Application, endpoint: Endpoint, read_body: ReadBody, rescue: Rescue) -> list[str]:
    """`read_body` reads what is posted within limits, or raises Refused.

    What the endpoint raises goes to `rescue`, which raises it again or says how it is answered: that status is told in
    the form that the client reads. Returns the patterns of the routes, as requests name them.
    """

    async def handle(request: web.Request) -> web.Response:
        call = _call(request, read_body)
        try:
            answer = await endpoint.answer(call)
        except Exception as error:  # noqa: BLE001 - see above
            answer = _rescued(rescue(error), call)
        return _response(request, answer)

    resources = [app.router.add_route("*", path, handle).resource for path in PATHS]
    return [resource.canonical for resource in resources if resource is not None]


def _call(request: web.Request, read_body: ReadBody) -> Call:
    tail = request.match_info["tail"]
    if not request.path.startswith(V2):
        tail = f"{DISCOVERY}.{tail}"

    keys = request.headers.getall(KEY, [])

    async def body() -> bytes:
        if request.content_type != FORM or (request.charset or "utf-8").lower() != "utf-8":
            raise malformed(f"a body is {FORM}, in UTF-8", "Content-Type")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise malformed("a body is sent as it is, not compressed", "Content-Encoding")
        if keys and (len(keys) > 1 or not _KEY.fullmatch(keys[0])):
            raise malformed(f"{KEY} wants 1 to {KEY_MAX_CHARACTERS} printable ASCII characters, once", KEY)
        return await read_body(request)

    return Call(
        method=request.method,
        tail=tail,
        query=tuple(request.query.items()),
        raw_query=request.rel_url.raw_query_string,
        url=f"{request.scheme}://{request.host}{V2.rstrip('/')}",
        key=keys[0] if keys else None,
        read_body=body,
    )


def _rescued(problem: web.Response, call: Call) -> Answer:
    headers = {"Retry-After": problem.headers["Retry-After"]} if "Retry-After" in problem.headers else {}
    return failed(problem.status, call.tail.rpartition(".")[2], [_TROUBLE], headers)


def _response(request: web.Request, answer: Answer) -> web.Response:
    headers = {
        **answer.headers,
        "Content-Type": f"{MEDIA_TYPES[answer.form]}; charset=utf-8",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    response = web.Response(body=answer.document.write(answer.form), status=answer.status, headers=headers)
    if request.can_read_body and not request.content.is_eof():
        response.force_close()  # what is left of a body that nobody reads
    return response
