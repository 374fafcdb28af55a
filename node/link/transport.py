"""One HTTP request to the hub and its whole answer, bounded; blips of seconds are tried again (protocol §10.4).

Raises Unavailable (Unreachable: nobody, or not the hub) and Refused (a problem of §7.3), nothing else.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Never
from urllib.request import getproxies, proxy_bypass

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from yarl import URL

from node.link.errors import Unreachable
from node.ports import Clock, Randomness
from sync_protocol.backoff import BLIP_ATTEMPTS_MAX, blip_delay_s
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.limits import LINE_SLOWEST_BYTES_S
from sync_protocol.problems import Recovering, refused_from_problem
from sync_protocol.wire import ADMISSION_HEADER

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 60.0  # a hub silent for longer is away; what it did meanwhile is found out by repeating
RETRY_AFTER_LONGEST_S: Final = 3_600.0
ASK_FIRST_BYTES: Final = 32 * 1024  # a longer body is announced, and sent when the hub has room for it (§7.4)
USER_AGENT: Final = "simpul-node"


@dataclass(frozen=True, slots=True)
class Answer:
    """A success, whole. `encoding` is its Content-Encoding; nothing was decompressed. `admission`: a pass (§7.4)."""

    status: int
    body: bytes = field(repr=False)
    encoding: str | None
    admission: str | None = field(default=None, repr=False)


def check_base_url(text: str, *, allow_plain_http: bool) -> URL:
    """The hub's address. Raises Refused(configuration) for one that would send in the clear, or is no address."""
    try:
        url = URL(text)
        host = url.host
    except ValueError:
        host = None
    if not host or url.scheme not in ("http", "https") or url.user or url.query_string or url.fragment:
        raise _configuration(f"{text!r} is not the address of a hub", "Write it as https://hub.example")
    if url.scheme == "http" and not allow_plain_http and not is_loopback(host):
        raise _configuration(
            f"{text} is not encrypted", "Use https, or set allow_plain_http if the network itself is private."
        )
    return url


def proxy_for(url: URL, proxies: Mapping[str, str] | None) -> URL | None:
    """The proxy that leads to this address, if there is one: of those given, else of the environment.

    A proxy leads outside, so there is none to a loopback address, nor, in the environment, to what `no_proxy` names.
    One that is itself reached by TLS is not used. Raises ValueError for what is no address.
    """
    host = url.host or ""
    if is_loopback(host) or (proxies is None and proxy_bypass(host)):
        return None
    address = (getproxies() if proxies is None else proxies).get(url.scheme)
    if address is None:
        return None
    proxy = URL(address)
    return None if proxy.scheme == "https" else proxy


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The system's CAs, or the given one alone. Raises Refused(configuration)."""
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise _configuration(f"the CA file {ca_file} cannot be used: {error}", "Give a PEM file with the CA.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Transport:
    """Connections to one hub. Opens nothing before the first request."""

    def __init__(
        self,
        base_url: str,
        *,
        clock: Clock,
        randomness: Randomness,
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        """`proxies` are addresses by scheme; if None, those of the environment. On loopback there is never one."""
        self.base_url = check_base_url(base_url, allow_plain_http=allow_plain_http)
        self._base = str(self.base_url).rstrip("/")
        self._proxies = proxies
        self.clock = clock
        self.randomness = randomness
        # The system's CAs are a megabyte of memory and tens of milliseconds: not for a hub that is reached without TLS.
        self._tls = tls_context(ca_file) if ca_file or self.base_url.scheme == "https" else None
        self._timeout_s = answer_timeout_s
        self._session: aiohttp.ClientSession | None = None

    def url(self, path: str) -> URL:
        """Absolute; `path` begins with a slash, may end in a query, and is encoded already."""
        return URL(self._base + path, encoded=True)

    async def request(
        self,
        method: str,
        url: URL,
        *,
        max_bytes: int,
        body: bytes | None = None,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> Answer:
        """A success. `headers` is called for each try, so that a signature is fresh and a nonce is new."""
        try:
            return await self._once(method, url, max_bytes, body, headers())
        except Unavailable as away:
            first = away
        return await self._again(first, lambda: self._once(method, url, max_bytes, body, headers()))

    async def close(self) -> None:
        """Closes connections; a later request opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _again(self, first: Unavailable, once: Callable[[], Awaitable[Answer]]) -> Answer:
        """What follows a first try that failed; that one is counted, and waited for, like the others."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            stop=_is_outage,
            wait=self._blip_wait_s,
            sleep=self.clock.sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise first
                return await once()
        raise AssertionError("tenacity ends with an answer or an error")

    def _blip_wait_s(self, state: RetryCallState) -> float:
        return _blip_delay_s(state, self.randomness.fraction()) or 0.0

    async def _once(
        self, method: str, url: URL, max_bytes: int, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        sent = len(body or b"")
        is_long = sent > ASK_FIRST_BYTES
        try:
            async with self._open_session().request(
                method,
                url,
                data=BytesIO(body) if body and is_long else body,  # a long one in pieces, so that others get a turn
                headers=headers,
                expect100=is_long,
                allow_redirects=False,
                timeout=_patience(self._timeout_s, sent, max_bytes),
            ) as response:
                data = await _read_bounded(response, max_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(f"no answer from {url.host}: {_words(error)}") from None
        if 200 <= response.status < 300:
            given = response.headers.get(ADMISSION_HEADER)
            return Answer(response.status, data, response.headers.get("Content-Encoding"), given)
        raise refused_from_problem(
            response.status,
            data,
            content_type=response.headers.get("Content-Type", ""),
            retry_after_s=_retry_after_s(response.headers.get("Retry-After")),
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=True if self._tls is None else self._tls),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                proxy=proxy_for(self.base_url, self._proxies),
            )
        return self._session


def _patience(silence_s: float, sent: int, awaited_max: int) -> aiohttp.ClientTimeout:
    """How long one request may take: a line that is slow is not a line that is dead.

    What was sent may still lie in this machine's buffers when the waiting begins, so it adds to the silence that is
    borne. The total only ends an answer that comes in drops for ever.
    """
    silent_s = silence_s + sent / LINE_SLOWEST_BYTES_S
    total_s = CONNECT_TIMEOUT_S + silent_s + awaited_max / LINE_SLOWEST_BYTES_S
    return aiohttp.ClientTimeout(total=total_s, connect=CONNECT_TIMEOUT_S, sock_read=silent_s)


async def _read_bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body; more than `max_bytes` is nothing that the hub would say."""
    if (response.content_length or 0) > max_bytes:
        raise Unreachable("the answer is larger than any that the hub gives")
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > max_bytes:
            raise Unreachable("the answer is larger than any that the hub gives")
        chunks.append(chunk)
    return b"".join(chunks)


def _is_outage(state: RetryCallState) -> bool:
    """Whether trying again within this call is over."""
    return stop_after_attempt(BLIP_ATTEMPTS_MAX)(state) or _blip_delay_s(state, 0.0) is None


def _blip_delay_s(state: RetryCallState, fraction: float) -> float | None:
    error = None if state.outcome is None else state.outcome.exception()
    if isinstance(error, Recovering):
        return None  # it takes longer than a blip, and the pusher has something to do for it
    wish_s = error.retry_after_s if isinstance(error, Unavailable) else None
    return blip_delay_s(state.attempt_number, fraction, wish_s)


def _retry_after_s(header: str | None) -> float | None:
    """Seconds; the form with a date is not used by hubs and would need a clock that both share."""
    if header is None or not header.strip().isdecimal() or not header.isascii():
        return None
    return min(float(header.strip()[:9]), RETRY_AFTER_LONGEST_S)


def _words(error: BaseException) -> str:
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "it took too long"
    return str(error) or type(error).__name__


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` never leaves the machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _configuration(detail: str, next_step: str) -> Refused:
    return Refused("configuration", detail, members={"next": next_step})


def unexpected(refused: Refused) -> Never:
    """An answer of success that is not of the form of §7: not the hub's word."""
    raise Unreachable(f"the answer is not a hub's: {refused}") from None
