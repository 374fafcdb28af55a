"""The hub as one agency reaches it (node/local/ports.py HubLink): calls of protocol §7.1 over aiohttp.

What comes back is parsed and bounded here and verified by the caller. Reading what is not public is signed (RFC 9421);
a set or a statement is its own authority and goes unsigned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from node.deadlines.overdue import OverduePage
from node.link.errors import Unreachable
from node.link.request_signature import sign_request
from node.link.transport import Answer, Transport, unexpected
from node.tracked import Tracked, read_tracked
from sync_protocol.attachment import ContentRange
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused
from sync_protocol.evidence import EvidenceFile
from sync_protocol.limits import PROOF_HASHES_MAX
from sync_protocol.set_pages import PAGE_MAX_BYTES, PagedSet, parse_page
from sync_protocol.values import b64_decode_all, b64u_encode
from sync_protocol.wire import (
    ADMISSION_HEADER,
    ADMISSION_PASS_MAX,
    BODY_MAX_BYTES,
    CHANGE_SET_MEDIA_TYPE,
    INBOX_MAX_BYTES,
    AgencyLine,
    ConsistencyAnswer,
    EnrolmentRequest,
    Entered,
    FileArrival,
    HeadAnswer,
    HubDescription,
    InboxPage,
    RecoveryAnswer,
    RecoveryRequest,
    SilentAgencies,
    StatementLine,
    StatementRequest,
    format_body,
    parse_bodies,
    parse_body,
)

ANSWER_MAX_BYTES: Final = 1024 * 1024  # receipts, notes, manifests: a few KiB each
_JSON: Final = {"Content-Type": "application/json"}
_SET: Final = {"Content-Type": CHANGE_SET_MEDIA_TYPE, "Content-Encoding": "zstd"}

Body = TypeVar("Body", bound=msgspec.Struct)


class HubClient:
    """See HubLink. `signer` is asked for each request, so that a rotated key is used at once."""

    def __init__(self, transport: Transport, agency: str, signer: Callable[[], Signer]) -> None:
        self._transport = transport
        self._agency = agency
        self._signer = signer
        self._pass: str | None = None  # the newest that the hub gave; it opens nothing, and is forgotten with us

    async def describe(self) -> HubDescription:
        return _parse(await self._get("/v1/hub"), HubDescription)

    async def head(self) -> HeadAnswer:
        return _parse(await self._get(self._path("head"), signed=True), HeadAnswer)

    async def push(self, seq: int, body: bytes, from_size: int) -> Entered:
        headers = _SET if self._pass is None else {**_SET, ADMISSION_HEADER: self._pass}
        url = self._transport.url(self._path(f"change-sets/{seq}?from={from_size}"))
        answer = await self._transport.request(
            "PUT", url, max_bytes=ANSWER_MAX_BYTES, body=body, headers=lambda: headers
        )
        self._keep_pass(answer)
        return _parse(answer, Entered)

    async def hand_over(self, seq: int, body: bytes) -> None:
        url = self._transport.url(self._path(f"change-sets/{seq}"))
        await self._transport.request("PUT", url, max_bytes=ANSWER_MAX_BYTES, body=body, headers=lambda: _SET)

    async def fetch_sets(self, from_seq: int) -> list[PagedSet]:
        path = self._path(f"change-sets?from={from_seq}")
        answer = await self._get(path, signed=True, max_bytes=PAGE_MAX_BYTES)
        try:
            return parse_page(answer.body)
        except Refused as refused:
            unexpected(refused)

    async def consistency(self, from_size: int, to_size: int) -> list[bytes]:
        path = f"/v1/consistency?from={from_size}&to={to_size}"
        answer = _parse(await self._get(path), ConsistencyAnswer)
        try:
            return b64_decode_all(answer.hashes[: PROOF_HASHES_MAX + 1], "consistency")
        except Refused as refused:
            unexpected(refused)

    async def statements(self) -> list[StatementLine]:
        answer = await self._get(self._path("statements"), max_bytes=BODY_MAX_BYTES)
        try:
            return parse_bodies(answer.body, StatementLine)
        except Refused as refused:
            unexpected(refused)

    async def inbox(self, after: str, wait_s: float) -> InboxPage:
        query = f"wait={int(wait_s)}" + (f"&after={after}" if after else "")
        answer = await self._get(self._path(f"inbox?{query}"), signed=True, max_bytes=INBOX_MAX_BYTES)
        return _parse(answer, InboxPage, INBOX_MAX_BYTES)

    async def evidence(self, complaint: str) -> EvidenceFile:
        answer = await self._get(f"/v1/complaints/{complaint}/evidence", signed=True, max_bytes=INBOX_MAX_BYTES)
        return _parse(answer, EvidenceFile, INBOX_MAX_BYTES)

    async def overdue(self, after: str, limit: int) -> OverduePage:
        query = f"limit={limit}" + (f"&after={after}" if after else "")
        return _parse(await self._get(f"/v1/overdue?{query}", signed=True), OverduePage)

    async def silent(self) -> set[str]:
        answer = _parse(await self._get("/v1/silent", signed=True), SilentAgencies)
        return {one.agency for one in answer.agencies}

    async def agencies(self) -> set[str]:
        answer = await self._get("/v1/agencies", max_bytes=BODY_MAX_BYTES)
        try:
            return {line.agency for line in parse_bodies(answer.body, AgencyLine)}
        except Refused as refused:
            unexpected(refused)

    async def track(self, tracking: str) -> Tracked:
        answer = await self._get(f"/v1/track/{tracking}", signed=True)  # so that who asks us is not counted as we
        try:
            return read_tracked(answer.body, tracking)
        except Refused as refused:
            unexpected(refused)

    async def submit_statement(self, statement: str) -> Entered:
        return _parse(await self._post("/v1/statements", StatementRequest(statement=statement)), Entered)

    async def enrol(self, request: EnrolmentRequest) -> Entered:
        return _parse(await self._post("/v1/enrolments", request), Entered)

    async def recover(self, request: RecoveryRequest) -> RecoveryAnswer:
        return _parse(await self._post("/v1/recovery", request, signed=True), RecoveryAnswer)

    async def send_file_piece(self, file: bytes, seq: int, place: ContentRange, data: bytes) -> int:
        url = self._transport.url(self._path(f"files/{b64u_encode(file)}?seq={seq}"))
        body = data or None

        def headers() -> Mapping[str, str]:
            nonce = b64u_encode(self._transport.randomness.bytes(16))
            signed = sign_request(self._signer(), "PUT", str(url), now_ms=self._now_ms(), body=body, nonce=nonce)
            return {**signed, "Content-Range": place.format(), "Content-Type": "application/octet-stream"} | (
                {} if self._pass is None else {ADMISSION_HEADER: self._pass}
            )

        answer = await self._transport.request("PUT", url, max_bytes=ANSWER_MAX_BYTES, body=body, headers=headers)
        self._keep_pass(answer)
        return _parse(answer, FileArrival).offset

    async def fetch_file(self, file: bytes, start: int, end: int) -> bytes:
        path = self._path(f"files/{b64u_encode(file)}")
        answer = await self._get(
            path, signed=True, max_bytes=max(end - start, ANSWER_MAX_BYTES), range_=f"bytes={start}-{end - 1}"
        )
        if len(answer.body) != end - start:
            raise Unreachable("the answer is not the part of the file that was asked for")
        return answer.body

    async def close(self) -> None:
        await self._transport.close()

    def _path(self, rest: str) -> str:
        return f"/v1/agencies/{self._agency}/{rest}"

    async def _get(
        self,
        path: str,
        *,
        signed: bool = False,
        max_bytes: int = ANSWER_MAX_BYTES,
        range_: str | None = None,
    ) -> Answer:
        url = self._transport.url(path)

        def headers() -> Mapping[str, str]:
            signature = sign_request(self._signer(), "GET", str(url), now_ms=self._now_ms()) if signed else {}
            part = {} if range_ is None else {"Range": range_}
            return {"Accept-Encoding": "identity", **part, **signature}

        answer = await self._transport.request("GET", url, max_bytes=max_bytes, headers=headers)
        self._keep_pass(answer)
        return answer

    def _keep_pass(self, answer: Answer) -> None:
        given = answer.admission
        if given is not None and len(given) <= ADMISSION_PASS_MAX and given.isascii() and given.isprintable():
            self._pass = given

    async def _post(self, path: str, body: msgspec.Struct, *, signed: bool = False) -> Answer:
        url = self._transport.url(path)
        data = format_body(body)

        def headers() -> Mapping[str, str]:
            if not signed:
                return _JSON
            nonce = b64u_encode(self._transport.randomness.bytes(16))
            signer = self._signer()
            return _JSON | sign_request(signer, "POST", str(url), now_ms=self._now_ms(), body=data, nonce=nonce)

        return await self._transport.request("POST", url, max_bytes=ANSWER_MAX_BYTES, body=data, headers=headers)

    def _now_ms(self) -> int:
        return self._transport.clock.now_ms()


def _parse(answer: Answer, body: type[Body], max_bytes: int = BODY_MAX_BYTES) -> Body:
    try:
        return parse_body(answer.body, body, max_bytes=max_bytes)
    except Refused as refused:
        unexpected(refused)
