"""Mentions of an account on X (Twitter): read by the API's version 2, each recorded once by its own number.

The newest number that was taken in is kept; what comes again is known by its number all the same. Whoever wrote is sent
the tracking number as a direct message, at least once: in public it would be everybody's. Messages are rationed; whose
mention the API does not show any more when their turn comes (800 are shown) is not told, and recorded all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol

import aiohttp
import msgspec
import structlog

from node.local.recording import Command, Recorded, RequestKey
from node.local.service import LocalService
from node.logs import words_of
from node.ports import Clock
from sync_protocol.errors import Refused, Unavailable

SYSTEM: Final = "x"
MARK: Final = "x-mentions"  # under which the newest number is kept
PAGE: Final = 100  # as many as the API gives
PAGES_MAX: Final = 8  # of one look: the API gives 800 mentions at most
PIECE_BYTES: Final = 65_536
LOOK_EVERY_S: Final = 60.0  # within what the API allows in a quarter of an hour
ANSWER_S: Final = 30.0
ANSWER_MAX_BYTES: Final = 1024 * 1024  # a page of a hundred posts has some 60 KiB
_NUMBER: Final = re.compile("[1-9][0-9]{0,18}")
_HALF: Final = 9  # digits: a source id has no run of sixteen, so that no identity number fits into one
_RECEIPT: Final = "Laporan Anda sudah kami terima. Nomor pelacakan: {tracking}"

_logger = structlog.get_logger("simpul.mentions")


class MarkStore(Protocol):
    """Where the newest number is kept: node/store/local_connectors.py."""

    async def told_to(self, system: str) -> int:
        """The number; 0 in the beginning."""
        ...

    async def is_behind(self) -> bool:
        """See LocalStore."""
        ...

    async def move_told(self, system: str, no: int) -> None:
        """A larger one; never moves back."""
        ...


class _Post(msgspec.Struct, frozen=True):
    id: str
    text: str
    author_id: str
    created_at: str


class _Meta(msgspec.Struct, frozen=True):
    next_token: str | None = None


class _Page(msgspec.Struct, frozen=True):
    data: list[_Post] = []
    meta: _Meta = _Meta()


@dataclass(frozen=True, slots=True)
class Account:
    """Whose mentions are read: the API's address, the account's number, and its token."""

    api_url: str
    user_id: str
    token: str


class Mentions:
    """Of one process."""

    def __init__(
        self, service: LocalService, marks: MarkStore, account: Account, clock: Clock, session: aiohttp.ClientSession
    ) -> None:
        self._service = service
        self._marks = marks
        self._account = account
        self._clock = clock
        self._session = session

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the API away, a full disk: what was written waits there for us
                _logger.warning("mentions.failed", error=words_of(error))
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> int:
        """Takes in what is new, the oldest first; how many. Raises Unavailable, and what recording raises.

        Not while an old backup is being brought up to date: what it took in since then is not known here yet.
        """
        if await self._marks.is_behind():
            return 0
        since = await self._marks.told_to(MARK)
        posts: list[_Post] = []
        token: str | None = None
        for _ in range(PAGES_MAX):
            page = await self._page(since, token)
            posts += page.data
            token = page.meta.next_token
            if token is None:
                break
        if token is not None:
            _logger.warning("mentions.too-many", read=len(posts))
        # All are recorded before anybody is told: messages are rationed, and mentions fall out of reach meanwhile.
        taken = [(post, await self._take(post)) for post in sorted(posts, key=lambda post: int(post.id))]
        for post, recorded in taken:
            if recorded is not None:
                await self._answer(post, recorded)
            await self._marks.move_told(MARK, int(post.id))
        return len(posts)

    async def _page(self, since: int, token: str | None) -> _Page:
        query = {"max_results": str(PAGE), "tweet.fields": "created_at,author_id"}
        query |= {"since_id": str(since)} if since else {}
        query |= {"pagination_token": token} if token else {}
        raw = await self._call("GET", f"/2/users/{self._account.user_id}/mentions", params=query)
        try:
            page = msgspec.json.decode(raw, type=_Page)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"the API answers what cannot be read: {error}") from None
        if not all(_NUMBER.fullmatch(post.id) for post in page.data):
            raise Unavailable("the API names a post by what is no number")
        return page

    async def _take(self, post: _Post) -> Recorded | None:
        """None for what cannot be recorded, ever: it is logged, and the next one goes in."""
        source = {"system": SYSTEM, "id": source_id(post.id)}
        data = {
            "channel": "twitter",
            "visibility": "public",
            "received_at": post.created_at,
            "source": source,
        }
        said = {"text": post.text, "reporter": {"account": post.author_id}}
        key = RequestKey(sha256(f"{SYSTEM}\n{post.id}".encode()).digest(), sha256(post.text.encode()).digest())
        try:
            once = (SYSTEM, source["id"])  # the line keeps it also where a backup has forgotten the key
            outcome = await self._service.record(
                Command("received", data, said, role="reporter", request=key, once_for=once)
            )
        except Refused as refused:
            _logger.warning("mentions.refused", post=source["id"], kind=refused.kind, where=refused.where)
            return None
        return outcome.recorded

    async def _answer(self, post: _Post, recorded: Recorded) -> None:
        """Whoever takes no messages from us is not told; the complaint is recorded all the same."""
        body = {"text": _RECEIPT.format(tracking=recorded.tracking)}
        try:
            await self._call("POST", f"/2/dm_conversations/with/{post.author_id}/messages", json=body)
        except Refused as refused:
            _logger.info("mentions.not-told", detail=refused.detail)

    async def _call(self, method: str, path: str, **options: Any) -> bytes:
        """Raises Unavailable for what may pass (429, 5xx, no answer), Refused for what will not."""
        headers: Mapping[str, str] = {"Authorization": f"Bearer {self._account.token}"}
        url = self._account.api_url + path
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with self._session.request(
                method, url, headers=headers, allow_redirects=False, timeout=timeout, **options
            ) as response:
                raw = bytearray()
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    raw += piece
                    if len(raw) > ANSWER_MAX_BYTES:
                        raise Unavailable(f"the API answers more than {ANSWER_MAX_BYTES} bytes")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the API does not answer: {type(error).__name__}") from None
        if response.status == 429 or response.status >= 500:
            raise Unavailable(f"the API answers {response.status}")
        if not 200 <= response.status < 300:
            raise Refused("unauthorised", f"the API answers {response.status}")
        return bytes(raw)


def source_id(number: str) -> str:
    """A post's number as the `id` of a source: a hyphen after nine digits."""
    return f"{number[:_HALF]}-{number[_HALF:]}" if len(number) > _HALF else number
