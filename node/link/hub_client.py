"""The hub over HTTPS, as one agency reaches it: the `HubLink` port (node/local/ports.py) with aiohttp and tenacity.

Raises Unavailable (Unreachable where nothing answered at all) or Refused, nothing else. Blips of seconds are tried
again here; everything longer is the pusher's. Answers are bounded and parsed, never verified.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from yarl import URL

from node.link.http_signature import NONCE_BYTES, RequestToSign, sign_request
from node.ports import Clock, Randomness
from sync_protocol.backoff import blip_delay_s
from sync_protocol.compression import Parts, decode_body
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.limits import WIRE_MAX_BYTES
from sync_protocol.problems import Recovering, refused_from_problem
from sync_protocol.receipt import RECEIPT_MAX_BYTES
from sync_protocol.values import b64_decode
from sync_protocol.wire import (
    BODY_MAX_BYTES,
    CHANGE_SET_MEDIA_TYPE,
    ConsistencyAnswer,
    EnrolmentRequest,
    Entered,
    HeadAnswer,
    HubDescription,
    RecoveryAnswer,
    RecoveryRequest,
    StatementLine,
    StatementRequest,
    format_body,
    parse_bodies,
    parse_body,
)

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 30.0  # silence on an open connection
TOTAL_TIMEOUT_S: Final = 120.0  # 16 MiB over a bad line
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Unreachable(Unavailable):
    """Nothing answered: no route, no name, no listener, a broken or silent connection, a certificate not trusted."""


def check_hub_url(text: str, *, allow_plain_http: bool) -> URL:
    """The hub's address; plain http only to this machine unless a setting allows more. Raises Refused."""
    try:
        url = URL(text.rstrip("/") + "/")
    except ValueError:
        raise Refused("configuration", f"{text!r} is not a URL", where="hub") from None
    if url.scheme not in {"http", "https"} or not url.host or url.query_string or url.fragment:
        raise Refused("configuration", "the hub's address is an http(s) URL without query", where="hub")
    if url.scheme == "http" and url.host not in _LOOPBACK and not allow_plain_http:
        detail = "plain http goes only to this machine; use https, or set allow_plain_http if the line is safe"
        raise Refused("configuration", detail, where="hub")
    return url


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The system's authorities, or one given file alone. Raises Refused(configuration)."""
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise Refused("configuration", f"the CA file {ca_file} cannot be used: {error}", where="ca_file") from None


class HubClient:
    """One agency's link. `signer` is asked at each signed request, so that a rotation elsewhere is seen."""

    def __init__(
        self,
        url: str,
        agency: str,
        *,
        signer: Callable[[], Signer],
        clock: Clock,
        randomness: Randomness,
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        self._base = check_hub_url(url, allow_plain_http=allow_plain_http)
        self._agency = quote(agency, safe="")
        self._signer = signer
        self._clock = clock
        self._randomness = randomness
        self._tls = tls_context(ca_file) if self._base.scheme == "https" else None
        self._session: aiohttp.ClientSession | None = None

    async def describe(self) -> HubDescription:
        """`GET /v1/hub`."""
        return parse_body(await self._call("GET", "v1/hub"), HubDescription)

    async def head(self) -> HeadAnswer:
        """The agency's head."""
        return parse_body(await self._call("GET", self._own("head"), signed=True), HeadAnswer)

    async def push(self, seq: int, body: bytes, from_size: int) -> Entered:
        """PUT of a set in its two zstd frames."""
        headers = {"Content-Type": CHANGE_SET_MEDIA_TYPE, "Content-Encoding": "zstd"}
        path = self._own(f"change-sets/{seq}?from={from_size}")
        return parse_body(await self._call("PUT", path, body=body, headers=headers), Entered)

    async def fetch_set(self, seq: int) -> Parts:
        """A set of our own, decompressed."""
        body = await self._call("GET", self._own(f"change-sets/{seq}"), signed=True, limit=WIRE_MAX_BYTES)
        return decode_body(body, "zstd")

    async def fetch_receipt(self, seq: int) -> bytes:
        """The receipt of a set of our own."""
        return await self._call("GET", self._own(f"change-sets/{seq}/receipt"), signed=True, limit=RECEIPT_MAX_BYTES)

    async def consistency(self, from_size: int, to_size: int) -> list[bytes]:
        """Hashes that prove that the log only grew."""
        answer = await self._call("GET", f"v1/consistency?from={from_size}&to={to_size}")
        return [b64_decode(text, "consistency") for text in parse_body(answer, ConsistencyAnswer).hashes]

    async def statements(self) -> list[StatementLine]:
        """What an agency needs to hold a roster of its own."""
        return parse_bodies(await self._call("GET", self._own("statements")), StatementLine)

    async def submit_statement(self, statement: str) -> Entered:
        """A rotation or revocation; it carries its own signature."""
        body = format_body(StatementRequest(statement=statement))
        return parse_body(await self._call("POST", "v1/statements", body=body), Entered)

    async def enrol(self, request: EnrolmentRequest) -> Entered:
        """With a one-time token; may be repeated with the same key."""
        return parse_body(await self._call("POST", "v1/enrolments", body=format_body(request)), Entered)

    async def recover(self, request: RecoveryRequest) -> RecoveryAnswer:
        """Hands a restored hub what it lost."""
        answer = await self._call("POST", "v1/recovery", body=format_body(request), signed=True)
        return parse_body(answer, RecoveryAnswer)

    async def close(self) -> None:
        """Closes connections."""
        if self._session is not None:
            await self._session.close()

    def _own(self, rest: str) -> str:
        return f"v1/agencies/{self._agency}/{rest}"

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
        limit: int = BODY_MAX_BYTES,
    ) -> bytes:
        """The body of a successful answer, after blips. Raises Unavailable or Refused."""
        url = self._base.join(URL(path))
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            stop=self._is_no_blip,
            wait=self._blip_delay,
            sleep=self._clock.sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self._call_once(method, url, body, {**(headers or {})}, signed, limit)
        raise AssertionError("tenacity ends with a result or an exception")

    async def _call_once(
        self, method: str, url: URL, body: bytes | None, headers: dict[str, str], signed: bool, limit: int
    ) -> bytes:
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if signed:
            request = RequestToSign(method, str(url), headers)
            nonce = self._randomness.bytes(NONCE_BYTES) if method != "GET" else None
            sign_request(request, self._signer(), now_ms=self._clock.now_ms(), nonce=nonce, body=body)
        try:
            async with self._connected().request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await _read_bounded(response, limit)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(f"{self._base} cannot be reached: {_plain(error)}") from None
        if response.status in {200, 201}:
            return answer
        raise refused_from_problem(
            response.status,
            answer,
            content_type=response.headers.get("Content-Type", ""),
            retry_after_s=_retry_after_s(response),
        )

    def _connected(self) -> aiohttp.ClientSession:
        """One session for the life of the link, made in the loop that uses it."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=TOTAL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S
            )
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False)
        return self._session

    def _blip_delay(self, state: RetryCallState) -> float:
        return self._delay_s(state) or 0.0

    def _is_no_blip(self, state: RetryCallState) -> bool:
        return self._delay_s(state) is None

    def _delay_s(self, state: RetryCallState) -> float | None:
        """None where waiting here makes no sense: an outage, or a hub that lost something and says so."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, Recovering):
            return None
        retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else None
        return blip_delay_s(state.attempt_number, self._randomness.fraction(), retry_after_s)


async def _read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(65_536):
        body += piece
        if len(body) > limit:
            raise Unavailable(f"the answer is longer than {limit} bytes: not the hub's")
    return bytes(body)


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """Seconds only; a date from another clock is no help here."""
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _plain(error: Exception) -> str:
    return str(error) or type(error).__name__
