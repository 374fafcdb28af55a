"""Who may come in, and how much of what is sent is in memory (protocol §7.4, ADR 0011). No HTTP here.

    a request's head ── own line full, or the line full ──► turned away, `Retry-After`
         │ waits in turns (turns.py), nothing of its body read where the caller waits for `100 Continue`
         ▼
    admitted: so many places, of which strangers have half; in company one for each agency
         │ reads the first FIRST_BYTES of its body
         │ a longer body: its manifest is judged, then it waits in turns for room for the rest
         ▼
    threads, in turns ──► the append ──► answer; place and bytes are given back

Of the bytes a quarter is for what lies in buffers before callers are admitted, a quarter for first parts (of which
strangers have half), half for the rest of long bodies. Each is claimed before the first byte of it is read.

What is not known to be an agency's (passes.py) is a stranger's: strangers share half of places, bytes and line, so that
no flood of theirs takes what the agencies need; and a stranger that reads slowly gives way to one that waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from node.hub.comeback import Comeback
from node.hub.turns import Account, Caller, Company, Turns
from node.ports import Clock, Randomness
from sync_protocol.errors import Refused, Unavailable

FIRST_BYTES: Final = 512 * 1024  # of a body, before anybody's signature is seen: a thousand changes, compressed
COPIES: Final = 2  # a body is held as it came and in its two frames until it is in the log
ALONE_MAX: Final = 16  # places of an agency that nobody else wants: enough to keep the hub busy
IN_LINE_MAX: Final = 8  # requests of one agency that wait; a node sends one at a time
IN_LINE_S: Final = 30.0  # a caller waits 60 s for an answer, and needs some of them for its body
SILENT_S: Final = 5.0  # a line that broke unnoticed must not keep its own agency out any longer
SLOW_S: Final = 5.0  # what a stranger may take to send its body while others wait
REFUSALS_A_SECOND: Final = 20  # of strangers, answered at once; beyond it …
PAUSE_S: Final = 1.0  # … they are answered after so long, and so is whoever fills its own line
PAUSES_MAX: Final = 256  # callers kept waiting for that, beside the places; beyond it they are answered at once
LOOK_EVERY_S: Final = 1.0
TELL_EVERY_S: Final = 60.0  # the log says that somebody was turned away, not each time

_logger = structlog.get_logger("simpul.hub.admission")


class TurnedAway(Unavailable):
    """The hub is busy. `reason`: share, line, waited, slow."""

    def __init__(self, reason: str, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.reason = reason


REASONS: Final = ("share", "line", "waited", "slow")


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What is configured: bodies in work, requests in line before them, bytes of bodies in memory (COPIES included)."""

    requests_max: int = 128
    waiting_max: int = 1_024
    bytes_max: int = 128 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Stay:
    """One request that was admitted. `first` and `rest` are bytes that it claims; `is_vouched`: it need not hurry,
    because it is an agency's; `give_way`, while its body is read, ends the reading.
    """

    caller: Caller
    first: int
    since_s: float
    heard_s: float
    rest: int = 0
    is_vouched: bool = False
    give_way: Callable[[], None] | None = None

    def heard(self, now_s: float) -> None:
        """Bytes came."""
        self.heard_s = now_s


@dataclass(slots=True, eq=False)
class _Waiter:
    caller: Caller
    cost: int
    admitted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Admission:
    """See the module. Belongs to one event loop; `on_turned_away` is told each reason."""

    def __init__(
        self,
        limits: AdmissionLimits,
        clock: Clock,
        randomness: Randomness,
        on_turned_away: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.limits = limits
        self._clock = clock
        self._comeback = Comeback(randomness)
        self._on_turned_away = on_turned_away
        self._line: Turns[_Waiter] = Turns()
        self._growing: Turns[_Waiter] = Turns()
        self._company = Company()
        self._stays: dict[Stay, None] = {}
        self._of_account: Counter[Account] = Counter()
        self._strangers = 0
        self._first = {True: 0, False: 0}
        self._rest = 0
        self._buffered = 0
        self._pausing = 0
        self._refusals = (0, 0.0)
        self._told_s = -TELL_EVERY_S

    @property
    def requests(self) -> int:
        """Bodies being read or worked on."""
        return len(self._stays)

    @property
    def waiting(self) -> int:
        """Requests in line, and bodies that wait for room."""
        return len(self._line) + len(self._growing)

    @property
    def bytes(self) -> int:
        """Claimed for bodies, at most `bytes_max`."""
        return self._first[True] + self._first[False] + self._rest + self._buffered

    @asynccontextmanager
    async def enter(self, caller: Caller, length: int, hold: Callable[[], int] = lambda: 0) -> AsyncIterator[Stay]:
        """For a body of that length, or of that length at most. May wait in line.

        `hold` is called where the caller has to wait: it stops the sender, and tells how many bytes came unasked.
        Raises TurnedAway. A stranger's refusal from inside may be held back a moment.
        """
        cost = COPIES * min(length, FIRST_BYTES)
        self._company.note(caller.account, self._clock.monotonic_s())
        await self._queue(caller, cost, hold)
        now_s = self._clock.monotonic_s()
        stay = Stay(caller, cost, now_s, now_s, is_vouched=not caller.is_stranger)
        self._stays[stay] = None
        try:
            yield stay
        except Refused:
            stay.give_way = None
            if caller.is_stranger and self._is_refused_often():
                await self._pause()
            raise
        finally:
            del self._stays[stay]
            self._leave(stay)

    async def grow(self, stay: Stay, caller: Caller, length: int) -> None:
        """Room for the rest of a body of that length; its manifest was judged, and says who `caller` is.

        Raises TurnedAway.
        """
        cost = max(0, COPIES * length - stay.first)
        waiter = _Waiter(caller, cost)
        self._growing.add(caller.account, waiter)
        self._serve_growing()
        try:
            await self._wait(waiter, self._growing)
        finally:
            self._growing.remove(caller.account, waiter)
        stay.rest, stay.is_vouched = cost, stay.is_vouched or not caller.is_stranger
        stay.heard(self._clock.monotonic_s())

    async def repay(self, stay: Stay) -> None:
        """After a repeat, which costs nearly as much as what is new and brings nothing: in company its sender waits as
        long again, so that of two who share a processor the one with new sets has the larger part.
        """
        now_s = self._clock.monotonic_s()
        if self._company.has_others(stay.caller.account, now_s):
            await self._clock.sleep(min(now_s - stay.since_s, PAUSE_S))

    # --- the line ---

    async def _queue(self, caller: Caller, cost: int, hold: Callable[[], int]) -> None:
        line, account, most = self._line, caller.account, self.limits.waiting_max
        own = line.of_account(account)
        if own >= IN_LINE_MAX:
            with self._buffering(caller, hold()):
                await self._pause()
            raise self._turned_away(account, "share", "as much of this agency waits as may", own)
        if len(line) >= most or (caller.is_stranger and line.of_party("") >= max(1, most // 2)):
            raise self._turned_away(account, "line", "more wait than the hub takes in now", len(line))
        waiter = _Waiter(caller, cost)
        line.add(account, waiter)
        self._serve()
        if waiter.admitted.done():
            return
        try:
            with self._buffering(caller, hold()):
                await self._wait(waiter, line)
        finally:
            line.remove(account, waiter)

    @contextmanager
    def _buffering(self, caller: Caller, size: int) -> Iterator[None]:
        """While a caller waits, what it sent unasked is in the server's buffers."""
        if self._buffered + size > self.limits.bytes_max // 4:
            raise self._turned_away(caller.account, "line", "more waits than the hub keeps in memory", self.waiting)
        self._buffered += size
        try:
            yield
        finally:
            self._buffered -= size

    async def _wait(self, waiter: _Waiter, line: Turns[_Waiter]) -> None:
        """Until it is served. It has its place, or its bytes, from that moment on: who is cut off gives them back."""
        until_s = self._clock.monotonic_s() + IN_LINE_S
        try:
            while not waiter.admitted.done() and (left_s := until_s - self._clock.monotonic_s()) > 0:
                self._hurry(waiter.caller)
                await asyncio.wait((waiter.admitted,), timeout=min(LOOK_EVERY_S, left_s))
        except asyncio.CancelledError:
            if waiter.admitted.done():
                self._give_back(waiter, line)
            raise
        if not waiter.admitted.done():
            raise self._turned_away(waiter.caller.account, "waited", "the hub had no room in time", len(line))

    def _give_back(self, waiter: _Waiter, line: Turns[_Waiter]) -> None:
        if line is self._growing:
            self._rest -= waiter.cost
            self._serve_growing()
        else:
            self._leave(Stay(waiter.caller, waiter.cost, 0.0, 0.0))

    def _serve(self) -> None:
        while self._of_account.total() < self.limits.requests_max:
            waiter = self._line.take(self._may, self._may_party)
            if waiter is None:
                return
            self._of_account[waiter.caller.account] += 1
            self._strangers += waiter.caller.is_stranger
            self._first[waiter.caller.is_stranger] += waiter.cost
            waiter.admitted.set_result(None)

    def _may_party(self, party: str) -> bool:
        return bool(party) or self._strangers < max(1, self.limits.requests_max // 2)

    def _may(self, waiter: _Waiter) -> bool:
        caller, account = waiter.caller, waiter.caller.account
        share = 1 if self._company.has_others(account, self._clock.monotonic_s()) else ALONE_MAX
        quarter = self.limits.bytes_max // 4
        if self._of_account[account] >= share or self._first[True] + self._first[False] + waiter.cost > quarter:
            return False
        return not caller.is_stranger or self._first[True] + waiter.cost <= quarter // 2

    def _serve_growing(self) -> None:
        """Strictly in turn: a large body would otherwise wait for ever while small ones pass by."""
        while (waiter := self._growing.first()) is not None and (
            self._rest + waiter.cost <= self.limits.bytes_max // 2
        ):
            self._growing.take()
            self._rest += waiter.cost
            waiter.admitted.set_result(None)

    def _leave(self, stay: Stay) -> None:
        account = stay.caller.account
        self._of_account[account] -= 1
        if not self._of_account[account]:
            del self._of_account[account]
        self._strangers -= stay.caller.is_stranger
        self._first[stay.caller.is_stranger] -= stay.first
        self._rest -= stay.rest
        self._comeback.served(self._clock.monotonic_s())
        self._serve()
        self._serve_growing()

    # --- those who keep others waiting ---

    def _hurry(self, waiting: Caller) -> None:
        """A broken line gives way to its agency's next call; a slow stranger to others, and to any with a long body."""
        now_s = self._clock.monotonic_s()
        for stay in list(self._stays):
            if stay.give_way is None:
                continue
            is_own = stay.caller.account == waiting.account and now_s - stay.heard_s > SILENT_S
            is_slow = not stay.is_vouched and now_s - stay.since_s > SLOW_S and (waiting.is_stranger or stay.rest)
            if is_own or is_slow:
                stay.give_way()
                stay.give_way = None
                return

    def slow(self, caller: Caller) -> TurnedAway:
        """For one that gave way."""
        return self._turned_away(caller.account, "slow", "the body came too slowly while others waited", self.waiting)

    def _is_refused_often(self) -> bool:
        """Whether strangers were refused more often within this second than an honest mistake explains."""
        now_s = self._clock.monotonic_s()
        count, since_s = self._refusals
        self._refusals = (count + 1, since_s) if now_s - since_s < 1 else (1, now_s)
        return self._refusals[0] > REFUSALS_A_SECOND

    async def _pause(self) -> None:
        """Who does not wait is made to: answers cost the event loop more than waiting costs memory."""
        if self._pausing >= PAUSES_MAX:
            return
        self._pausing += 1
        try:
            await self._clock.sleep(PAUSE_S)
        finally:
            self._pausing -= 1

    def _turned_away(self, account: Account, reason: str, detail: str, waiting: int) -> TurnedAway:
        now_s = self._clock.monotonic_s()
        self._on_turned_away(reason)
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            _logger.warning("turned away", reason=reason, waiting=self.waiting, requests=self.requests)
        return TurnedAway(reason, detail, retry_after_s=self._comeback.after_s(account, waiting, now_s))
