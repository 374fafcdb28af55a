"""Files to the hub: after the receipt of the set that names them, beside the pusher, never before it (protocol §13.5).

The list is in the database: an attempt is noted before it is made, so a process may die anywhere. A file that was sent
is asked after now and then, and sent again to a hub that lost it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from node.files.store import FileStore
from node.local.file_ports import FileLink, FileRegister
from node.logs import words_of
from node.ports import Clock, Randomness
from node.store.local_records import FileToSend
from sync_protocol.attachment import ContentRange
from sync_protocol.backoff import DAY_MS, Schedule
from sync_protocol.change_types import CONFIDENTIAL
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.limits import FILE_PIECE_MAX_BYTES

POLL_S: Final = 5.0  # a look at a short list; a photograph may come so much after its words
AT_ONCE: Final = 16  # read from the list at one time
ASK_AGAIN_MS: Final = 30 * DAY_MS
ASK_AGAIN_SPREAD: Final = 0.1  # so that a mass of files that went together is not asked after together
REFUSED_AGAIN_MS: Final = DAY_MS  # what is refused changes when an operator acts, or never
STANDSTILLS_MAX: Final = 3  # answers without progress; an erasure, or another process that sends the same
KEPT_BACK: Final = "kept back: the complaint is confidential (files_keep_back_confidential)"

_logger = structlog.get_logger("simpul.files")


class FileSending:
    """One process's sender. Several of one directory may send the same: the hub takes each piece once."""

    def __init__(
        self,
        register: FileRegister,
        store: FileStore,
        link: FileLink,
        clock: Clock,
        randomness: Randomness,
        *,
        keep_back_confidential: bool = False,
    ) -> None:
        self._register = register
        self._store = store
        self._link = link
        self._clock = clock
        self._randomness = randomness
        self._keep_back = keep_back_confidential

    async def run(self) -> None:
        """Until it is cancelled; no error ends it."""
        while True:
            count = 0
            try:
                count = await self.send_due()
            except Exception as error:  # noqa: BLE001 - a full disk, a busy database: later
                _logger.warning("sending files failed", error=words_of(error))
            if not count:
                await self._clock.sleep(POLL_S)

    async def send_due(self) -> int:
        """What is due now, one after the other; how many reached the hub."""
        return sum([await self._send(one) for one in await self._register.files_to_send(self._clock.now_ms(), AT_ONCE)])

    async def _send(self, wanted: FileToSend) -> bool:
        now_ms = self._clock.now_ms()
        if self._keep_back and wanted.visibility in CONFIDENTIAL and not wanted.is_sent:
            await self._register.file_not_sent(
                wanted.leaf, Schedule(next_attempt_at_ms=now_ms + ASK_AGAIN_MS), KEPT_BACK
            )
            return False
        schedule = wanted.schedule.attempting(now_ms, self._randomness.fraction())
        await self._register.record_file_attempt(wanted.leaf, schedule)
        try:
            await self._bring(wanted)
        except Unavailable as away:
            schedule = schedule.postponed(now_ms, away.retry_after_s or 0.0)
            await self._register.file_not_sent(wanted.leaf, schedule, away.detail)
        except (Refused, Corrupt) as error:
            _logger.warning("file not sent", file=wanted.file.b64u[:12], reason=error.detail)
            schedule = replace(schedule, next_attempt_at_ms=now_ms + REFUSED_AGAIN_MS)
            await self._register.file_not_sent(wanted.leaf, schedule, error.detail)
        else:
            later_ms = int(ASK_AGAIN_MS * (1 + ASK_AGAIN_SPREAD * self._randomness.fraction()))
            await self._register.file_sent(wanted.leaf, self._clock.now_ms(), self._clock.now_ms() + later_ms)
            return True
        return False

    async def _bring(self, wanted: FileToSend) -> None:
        """The hub has the file when this returns. Raises Unavailable, Refused, Corrupt."""
        offset, standstills = await self._ask(wanted), 0
        while offset < wanted.size:
            piece = await asyncio.to_thread(self._read, wanted, offset)
            place = ContentRange(offset, len(piece), wanted.size)
            before = offset
            try:
                offset = await self._link.send_file_piece(wanted.file, wanted.seq, place, piece)
            except Refused as refused:
                if refused.kind == "file-differs":
                    await asyncio.to_thread(self._store.check, wanted.file)  # Corrupt if it is our own fault
                if refused.kind != "wrong-offset":
                    raise
                offset = await self._ask(wanted)
            standstills += offset <= before
            if standstills > STANDSTILLS_MAX:
                raise Unavailable("the hub's offset does not grow")
        _logger.info("file sent", file=wanted.file.b64u[:12], bytes=wanted.size)

    async def _ask(self, wanted: FileToSend) -> int:
        return await self._link.send_file_piece(wanted.file, wanted.seq, ContentRange(None, 0, wanted.size), b"")

    def _read(self, wanted: FileToSend, offset: int) -> bytes:
        """Runs in a thread."""
        try:
            with self._store.path_of(wanted.file).open("rb") as file:
                file.seek(offset)
                piece = file.read(min(FILE_PIECE_MAX_BYTES, wanted.size - offset))
        except FileNotFoundError:
            piece = b""
        if not piece:
            raise Corrupt("a file that a change names is not on this node's disk; bring `files/` back from a backup")
        return piece
