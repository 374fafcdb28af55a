"""The hub's files: what an agency's changes name comes piece by piece, and goes to whom the complaint concerns (§13.5).

A file is taken from an agency only if a change of its own, which the fold applied, names it by a content line that is
shown here; each agency brings its own bytes, even if another brought the same, because a hash that somebody has read
is no proof of having the file. Erasing the last line that names a file erases the file.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import structlog

from node.files.disk import NoRoom
from node.files.incoming import Incoming
from node.files.limits import MIB, UNNAMED_LIFETIME_MS, UPLOAD_LIFETIME_MS
from node.files.media import HEAD_BYTES, check_claim
from node.files.pieces import Span, read_pieces
from node.files.store import FileStore
from node.hub.folding import unpack_state
from node.hub.http_auth import Reader
from node.hub.hub import Hub
from node.hub.ports import Turn
from node.logs import words_of
from node.store.complaint_keys import complaint_key
from node.store.hub_records import NamedFile
from sync_protocol.attachment import Announcement, ContentRange, announcements
from sync_protocol.change_set import parse_change_set
from sync_protocol.compression import decompress_part
from sync_protocol.errors import Corrupt, Refused, Unavailable, malformed, too_large
from sync_protocol.limits import SET_MAX_BYTES
from sync_protocol.values import Digest
from sync_protocol.wire import FileArrival

TIDY_EVERY_S: Final = 10.0  # how long a file may outlive the line that named it; nobody is shown it meanwhile
SWEEP_EVERY_S: Final = 24 * 3_600.0
ERASED_AT_ONCE: Final = 100
ORPHANS_AT_ONCE: Final = 500  # asked about in one query
LOOKUPS_MAX: Final = 2  # sets decompressed at one time to look for a file's name, up to 32 MiB each
KNOWN_MAX: Final = 1_024  # files of which is remembered what was announced while they come, a hundred pieces each
NAMINGS_MAX: Final = 1_000  # applied lines of one set that name the same file: as many changes as a node puts into one
FOLD_SOON_S: Final = 5.0  # the fold is seldom further behind
AGENCY_MAX_BYTES: Final = 51_200 * MIB  # of one agency: two thousand of the largest files, twenty thousand photographs

_logger = structlog.get_logger("simpul.hub.files")


class HubFiles:
    """Belongs to one event loop. `turn` is exclusive among all processes that share the directory."""

    def __init__(self, hub: Hub, store: FileStore, turn: Turn, *, agency_max_bytes: int = AGENCY_MAX_BYTES) -> None:
        self.store = store
        self._hub = hub
        self._turn = turn
        self._incoming = Incoming(store)
        self._agency_max = agency_max_bytes
        self._looking = asyncio.Semaphore(LOOKUPS_MAX)
        self._known: OrderedDict[tuple[str, int, bytes], Announcement] = OrderedDict()

    async def take(self, agency: str, file: Digest, seq: int, place: ContentRange, data: bytes) -> FileArrival | None:
        """A piece of a file that this agency's set `seq` names: how far it came, or None if all of it is here.

        Raises Refused (not-announced, malformed, too-large, wrong-offset, file-differs, file-type), Unavailable.
        """
        if await self._has(agency, file, seq):
            return None
        announced = await self._announced(agency, file, seq)
        if place.length != announced.size:
            raise malformed(f"the change says that the file has {announced.size} bytes", "Content-Range")
        if announced.size > self.store.limits.file_max:
            raise too_large("file", self.store.limits.file_max)
        here = await self._come(agency, announced, place, data)
        if here < announced.size:
            return FileArrival(offset=here, length=announced.size)
        await self._keep(agency, file, seq)
        return None

    async def _come(self, agency: str, announced: Announcement, place: ContentRange, data: bytes) -> int:
        """How many bytes are here, with these."""
        name = _name(agency, announced.file)
        if place.start is None:
            return await asyncio.to_thread(self._incoming.offset, name)
        if place.start == 0:
            await self._check_room(agency, announced.size)
        return await asyncio.to_thread(self._incoming.append, name, place.start, data, announced.size)

    async def find(self, reader: Reader, agency: str, file: Digest) -> NamedFile:
        """The file, if a line names it of a complaint that concerns the agency. Raises Refused(not-found)."""
        for named in await self._hub.store.lines_naming(file):
            if named.agency == agency or agency in await self._concerned(named.complaint):
                if reader.agency is None and not reader.with_content:
                    raise Refused("unauthorised", "this token does not show what was said")
                return named
        raise Refused("not-found", "there is no such file, or it is another agency's", where="file")

    async def verified(self, file: Digest) -> int:
        """Reads all of it; its size. Raises Refused(not-found), Unavailable where it is damaged."""
        try:
            size = await asyncio.to_thread(self.store.check_lately, file)
        except Corrupt as damaged:
            _logger.critical("a file is damaged", file=file.b64u[:12], next=damaged.next_step)
            raise Unavailable("this file is damaged here; its agency brings it again", retry_after_s=3_600) from None
        if size is None:
            raise Refused("not-found", "this file is not here any more, or not yet", where="file")
        return size

    async def _concerned(self, complaint: bytes) -> set[str | None]:
        """Who owns the complaint, and whom it is offered to."""
        _, row = await self._hub.projection.complaint(complaint)
        if row is None:
            return set()
        state = unpack_state(row.state)
        return {state.owner, state.offer_to}

    async def _has(self, agency: str, file: Digest, seq: int) -> bool:
        """Whether this agency brought it before; then further lines that name it are noted, if they say its size."""
        named = [one for one in await self._hub.store.lines_naming(file) if one.agency == agency]
        if not named or await asyncio.to_thread(self.store.size_of, file) != named[0].size:
            return False
        index, said = await self._look_up(agency, file, seq)
        if said[0].size != named[0].size:
            return False
        if {one.leaf for one in said} - {one.leaf for one in named if one.index == index}:
            async with self._turn.hold():  # what named it before may be erased by now: it goes with its last name
                if await asyncio.to_thread(self.store.size_of, file) != named[0].size:
                    return False
                await self._note(index, said, agency)
        return True

    async def _announced(self, agency: str, file: Digest, seq: int) -> Announcement:
        """The first line of the set that names the file; remembered, because the next pieces ask the same."""
        key = (agency, seq, bytes(file))
        known = self._known.get(key) or (await self._look_up(agency, file, seq))[1][0]
        self._known[key] = known
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return known

    async def _look_up(self, agency: str, file: Digest, seq: int) -> tuple[int, list[Announcement]]:
        """Where the set stands, and its applied lines that name the file, all with one size.

        Raises Refused(not-announced), Unavailable while the fold is not so far.
        """
        stored = (await self._hub.store.find_sets([(agency, seq)])).get((agency, seq))
        parts = None if stored is None else await self._hub.store.set_parts(stored.index)
        if stored is None or parts is None:
            raise _not_announced("there is no such set here")
        async with self._looking:
            said = await asyncio.to_thread(_announcements, parts, file)
        cursor, refused = await self._hub.projection.refused_at(stored.index)
        if cursor.size <= stored.index:
            raise Unavailable("the set is in the log, and not folded yet", retry_after_s=FOLD_SOON_S)
        applied = [one for one in said if one.position not in refused]
        if applied:
            return stored.index, [one for one in applied if one.size == applied[0].size][:NAMINGS_MAX]
        raise _not_announced("no applied change of that set names this file by a line that is shown here")

    async def _check_room(self, agency: str, wanted: int) -> None:
        await asyncio.to_thread(self.store.check_room, wanted)
        if await self._hub.store.file_bytes_of(agency) + wanted > self._agency_max:
            raise NoRoom(f"the room for files of {agency} is used up")

    async def _keep(self, agency: str, file: Digest, seq: int) -> None:
        """All bytes are here. A crash in it, or a full disk, leaves them: the next question does it again."""
        self._known.pop((agency, seq, bytes(file)), None)
        index, said = await self._look_up(agency, file, seq)  # it may be erased by now
        name, is_named = _name(agency, file), False
        async with self._turn.hold():
            try:
                is_whole = await asyncio.to_thread(self._store, name, said[0])
                is_named = is_whole and await self._note(index, said, agency)
                if is_whole and not is_named:
                    await self._remove_unnamed(file)
            except Refused:
                await asyncio.to_thread(self._incoming.drop, name)
                raise
            await asyncio.to_thread(self._incoming.drop, name)
        if not is_whole:
            raise Refused("file-differs", "these bytes have another SHA-256", where="file")
        if not is_named:
            raise _not_announced("the line that named it was erased")
        _logger.info("file", agency=agency, file=file.b64u[:12], bytes=said[0].size)

    def _store(self, name: str, announced: Announcement) -> bool:
        """Runs in a thread. False if the bytes are others. Raises Refused(file-type), NoRoom."""
        try:
            with self._incoming.opened(name) as data:
                check_claim(data[:HEAD_BYTES], announced.media_type)
                return self.store.add(read_pieces(data, [Span(0, len(data))]), announced.file) is not None
        except FileNotFoundError:  # somebody else had the turn before
            return self.store.size_of(announced.file) == announced.size

    async def _note(self, index: int, said: Sequence[Announcement], agency: str) -> bool:
        """Every complaint whose line names it has the file; False if all of the lines were erased meanwhile."""
        return await self._hub.store.add_file(
            [NamedFile(index, one.leaf, agency, complaint_key(one.complaint), one.file, one.size) for one in said]
        )

    async def _remove_unnamed(self, file: Digest) -> None:
        """In turn: nobody is about to name it."""
        if not await self._hub.store.lines_naming(file):
            await asyncio.to_thread(self.store.remove, file)

    async def tidy(self) -> int:
        """Removes the files of lines that were erased, for good; how many lines. A crash in between does it again."""
        gone = 0
        while erased := await self._hub.store.files_to_erase(ERASED_AT_ONCE):
            for named in erased:
                file = Digest(named.file)
                async with self._turn.hold():
                    await self._remove_unnamed(file)
                    await asyncio.to_thread(self._incoming.drop, _name(named.agency, file))
                    await self._hub.store.forget_file(named)
                gone += 1
            _logger.info("files erased", lines=len(erased))
        return gone

    async def sweep(self) -> int:
        """Removes what nobody finished sending, and what no line names (a crash leaves it); how many."""
        now_s = self._hub.clock.now_ms() / 1000
        before_s = now_s - UPLOAD_LIFETIME_MS / 1000
        gone = await asyncio.to_thread(self._incoming.sweep, before_s)
        gone += await asyncio.to_thread(self.store.sweep_copies, before_s)
        old_s = now_s - UNNAMED_LIFETIME_MS / 1000
        old = await asyncio.to_thread(lambda: list(self.store.older_than(old_s)))
        for start in range(0, len(old), ORPHANS_AT_ONCE):
            some = old[start : start + ORPHANS_AT_ONCE]
            named = await self._hub.store.named_among(some)
            for file in some:
                if file not in named:
                    async with self._turn.hold():
                        await self._remove_unnamed(file)
                    gone += 1
        return gone

    def close(self) -> None:
        """Lets go of the turn."""
        self._turn.close()

    async def run(self) -> None:
        """Tidies and sweeps until it is cancelled; no error ends it."""
        sweep_at_s = 0.0
        while True:
            try:
                await self.tidy()
                if self._hub.clock.monotonic_s() >= sweep_at_s:
                    sweep_at_s = self._hub.clock.monotonic_s() + SWEEP_EVERY_S
                    await self.sweep()
            except Exception as error:  # noqa: BLE001 - a full disk or a database that is away: later
                _logger.warning("tidying files failed", error=words_of(error))
            await self._hub.clock.sleep(TIDY_EVERY_S)


def _name(agency: str, file: Digest) -> str:
    """Of what came so far; agency and hash are no part of a path."""
    return sha256(f"{agency}\n{file.hex()}".encode("ascii")).hexdigest()[:32]


def _announcements(parts: tuple[bytes, bytes], file: Digest) -> list[Announcement]:
    """Runs in a thread."""
    head = decompress_part(parts[0])
    change_set = parse_change_set(head, decompress_part(parts[1], SET_MAX_BYTES - len(head)))
    return list(announcements(change_set, file))


def _not_announced(detail: str) -> Refused:
    return Refused("not-announced", detail, where="file")
