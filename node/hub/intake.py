"""A pushed set from its bytes to its place in the log (protocol §8, §7.2). No HTTP here.

What is cheap is judged first: of a body only the manifest line is decompressed until it is known that a key of the
agency signed it. What is heavy (decompressing, hashing) runs in `threads` threads, agencies in turns (turns.py), and
nothing decompressed outlives its turn there: so many sets are in memory at a time, however many are sent. Only what is
small is read at once, because changing threads would cost more than reading it. The
judgement that counts is the appender's, under the lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from node.hub.appender import Appender
from node.hub.draft import Draft, Place, SetItem
from node.hub.erasing import without_erased
from node.hub.gathering import read_lines_of
from node.hub.log import HubLog
from node.hub.turns import Caller, FairThreads
from node.ports import Clock
from node.store.hub_records import StoredCheckpoint, StoredSet
from sync_protocol.change_set import (
    MANIFEST_LINE_MAX_BYTES,
    ChangeSet,
    VerifiedLines,
    hidden_leaves,
    merge_contents,
    parse_change_set,
    parse_manifest_line,
    verify_lines,
)
from sync_protocol.compression import compress_part, decode_body, decompress_part, peek_head
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.intake import Accept, Behind, Duplicate, Held
from sync_protocol.limits import SET_MAX_BYTES
from sync_protocol.manifest import SignedManifest

VERIFY_THREADS: Final = 2  # hashing long lines and decompressing let others run; more threads only take turns
# A change or a few, as they come one by one: read in less time than it takes to wake a thread.
SMALL_WIRE_BYTES: Final = 4 * 1024
SMALL_SET_BYTES: Final = 32 * 1024  # decompressed; what says that it is small and is not goes to a thread
SMALL_SET_LEAVES: Final = 64  # lines cost as much as bytes
MERGE_ATTEMPTS: Final = 4  # others may complete the same set at the same time


@dataclass(frozen=True, slots=True)
class Taken:
    """A set in the log; `hidden` of its leaves are hidden here, `erased` of those for good."""

    place: Place
    hidden: int
    erased: int


class FirstLook(Enum):
    """What the beginning of a body says. Of a repeat anybody may be the sender: manifests are public."""

    SIGNED = "a key of the agency signed it, and it is not held"
    HELD = "it is held, with every line that is wanted"
    WANTED = "it is held, with lines hidden that it may show"


@dataclass(frozen=True, slots=True)
class _Body:
    """A set as it is sent, compressed."""

    wire: bytes
    encoding: str | None


class Intake:
    """Takes sets in. Belongs to one event loop. `on_filled`: lines came that the fold may be waiting for."""

    def __init__(
        self,
        log: HubLog,
        appender: Appender,
        registrar: Callable[[], Signer],
        clock: Clock,
        threads: int = VERIFY_THREADS,
        on_filled: Callable[[StoredCheckpoint], None] = lambda _checkpoint: None,
    ) -> None:
        self._log = log
        self._appender = appender
        self._registrar = registrar
        self._clock = clock
        self._on_filled = on_filled
        self._threads = FairThreads(threads, "hub-verify")

    def close(self) -> None:
        """Ends the threads."""
        self._threads.close()

    @property
    def waiting(self) -> int:
        """How much waits for a thread."""
        return self._threads.waiting

    async def first_look(
        self, url_agency: str, url_seq: int, part: bytes, encoding: str | None, caller: Caller
    ) -> FirstLook:
        """Whether the rest of a body is worth reading, of which `part` is the beginning.

        Raises Refused and Unavailable as `submit` would: what is not signed by a key that may speak goes no further.
        """
        submission = await self._threads.run(caller, _peek, _Body(part, encoding))
        await self._know(submission)
        draft = Draft(self._log, self._registrar, self._clock.now_ms())
        await draft.look_up([submission])
        judgement = await self._threads.run(caller, draft.judgement, submission, url_agency, url_seq)
        if not isinstance(judgement, Duplicate):
            return FirstLook.SIGNED
        stored = await self._log.store.set_at(judgement.held.index)
        is_whole = stored is not None and stored.hidden == stored.erased
        return FirstLook.HELD if is_whole else FirstLook.WANTED

    async def submit(self, url_agency: str, url_seq: int, body: bytes, encoding: str | None, caller: Caller) -> Taken:
        """Where the set is now. Raises Refused or Unavailable, having stored nothing but evidence of a fork."""
        received_at_ms = self._clock.now_ms()
        sent = _Body(body, encoding)
        del body
        is_small = len(sent.wire) <= SMALL_WIRE_BYTES
        submission = _peek(sent) if is_small else await self._threads.run(caller, _peek, sent)
        await self._know(submission)
        draft = Draft(self._log, self._registrar, received_at_ms)
        await draft.look_up([submission])
        item = SetItem(submission, url_agency, url_seq, b"", b"", 0, _UNREAD, received_at_ms)
        is_small = is_small and submission.manifest.size <= SMALL_SET_LEAVES
        held = _judge_and_read(draft, item, sent, SMALL_SET_BYTES) if is_small else None
        if not is_small or _is_larger(item):
            item.fault = _UNREAD
            held = await self._threads.run(caller, _judge_and_read, draft, item, sent)
        del draft
        if held is not None and held.index < self._log.size:
            return await self._repeat(Place(held.index, self._log.published, is_new=False), sent, caller)
        try:
            place = await self._appender.submit(item)
            hidden = item.hidden
        finally:
            # A refusal is held by the item's answer and holds this frame: a circle, and the set's bytes in it.
            del item
        if place.is_new:
            return Taken(place, hidden, 0)
        return await self._repeat(place, sent, caller)

    async def _know(self, submission: SignedManifest) -> None:
        """Another process of this hub may have told the sender of more than this one knows: then it looks first."""
        key = self._log.roster.key(submission.jws.kid)
        is_strange = key is None or not key.speaks_at(self._log.size)
        if is_strange or submission.manifest.seen_size > self._log.size:
            await self._log.follow()

    async def _repeat(self, place: Place, shown: _Body, caller: Caller) -> Taken:
        """An accepted set came again: completed if it shows more than is held (protocol §7.2)."""
        for _ in range(MERGE_ATTEMPTS):
            stored = await self._log.store.set_at(place.index)
            if stored is None:
                raise Corrupt(f"the set at log index {place.index} is missing in the database")
            if stored.hidden == stored.erased or await self._complete(stored, shown, caller):
                return Taken(place, stored.hidden, stored.erased)
        raise Unavailable("the set is being completed by others; repeat it", retry_after_s=1)

    async def _complete(self, stored: StoredSet, shown: _Body, caller: Caller) -> bool:
        """Whether nothing is left to do; False after a merge or when somebody else was faster: look again."""
        parts = await self._log.store.set_parts(stored.index)
        erased = await self._log.store.erased_leaves(stored.index)
        if parts is None and stored.is_missing:
            return await self._fill(stored, shown, caller)
        if parts is None:
            raise Corrupt(f"the lines of {stored.agency} seq {stored.seq} are missing in the database")
        merged = await self._threads.run(caller, _merge, parts, shown, erased)
        if merged is None or merged[1] >= stored.hidden:
            await self._log.store.stop_wanting(stored.index)  # it may be one of those that were lost
            return True
        frame, hidden = merged
        await self._log.store.replace_contents(stored, replace(stored, hidden=hidden), frame, ())
        if hidden == stored.erased:
            await self._log.store.stop_wanting(stored.index)
        return False

    async def _fill(self, stored: StoredSet, shown: _Body, caller: Caller) -> bool:
        """The lines of a set that a restored hub lacked (§10.6); False: look again."""
        entry = (await self._log.store.entries_at([stored.index]))[stored.index]
        frames, hidden = await self._threads.run(caller, read_lines_of, entry, shown.wire, shown.encoding)
        kept = await self._log.lock.erasures()
        if await self._log.store.fill_missing(*await without_erased(kept, replace(stored, hidden=hidden), frames)):
            self._on_filled(self._log.published)
        return False


_UNREAD: Final = Unavailable("the set was judged anew; repeat it", retry_after_s=1)


def _peek(sent: _Body) -> SignedManifest:
    """Steps 1 and 2 of §8, without the rest of the set."""
    return parse_manifest_line(peek_head(sent.wire, sent.encoding, MANIFEST_LINE_MAX_BYTES))


def _judge_and_read(draft: Draft, item: SetItem, sent: _Body, limit: int = SET_MAX_BYTES) -> Held | None:
    """A first judgement, and then the lines if it may go in. The set that is held, if this is a repeat of it.

    Raises Refused or Unavailable for what would be refused under any head.
    """
    judgement = draft.judgement(item.submission, item.url_agency, item.url_seq)
    if isinstance(judgement, Duplicate):
        if judgement.held.index >= draft.follows:
            _read_lines(item, sent, limit)
        return judgement.held
    if isinstance(judgement, Accept | Behind):  # sets that come before it may be waiting for the log right now
        _read_lines(item, sent, limit)
    return None


def _is_larger(item: SetItem) -> bool:
    """Whether it has more to decompress than a small set may have."""
    return isinstance(item.fault, Refused) and item.fault.kind == "too-large"


def _read_lines(item: SetItem, sent: _Body, limit: int) -> None:
    """Steps 10 and 11, done before the head is known: what is wrong is told only if nothing before it is."""
    try:
        parts = decode_body(sent.wire, sent.encoding, limit)
        lines: VerifiedLines = verify_lines(ChangeSet(item.submission, parts.head, parts.contents))
    except Refused as refused:
        refused.__traceback__ = refused.__context__ = None  # they hold the lines, and the item holds the refusal
        item.fault = refused
        return
    item.fault = None
    item.hidden = lines.hidden_leaves
    item.changes_frame = parts.head_frame or compress_part(parts.head)
    item.contents_frame = parts.contents_frame or (compress_part(parts.contents) if parts.contents else b"")


def _merge(parts: tuple[bytes, bytes], sent: _Body, erased: set[bytes]) -> tuple[bytes, int] | None:
    """The contents frame with what both show, and how many leaves stay hidden; None if `sent` shows nothing more.

    Raises Refused if the lines that are shown are not the ones that were signed.
    """
    opened = decode_body(sent.wire, sent.encoding)
    shown = parse_change_set(opened.head, opened.contents)
    verify_lines(shown)
    head = decompress_part(parts[0])
    held = parse_change_set(head, decompress_part(parts[1], SET_MAX_BYTES - len(head)))
    contents = merge_contents(held, shown, erased)
    if contents == held.contents:
        return None
    return compress_part(contents), hidden_leaves(replace(held, contents=contents))
