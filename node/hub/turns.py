"""Whose turn it is: agencies are served round-robin, not in the order in which they shouted (protocol §7.4, ADR 0011).

An *account* is what a share is counted for: an agency that is proven (passes.py), or one of the strangers. All
strangers together are one party beside the agencies, and take turns among themselves by address and by the agency that
they name: naming seven hundred agencies makes nobody seven hundred parties.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

COMPANY_S: Final = 2.0  # so long after somebody else's last call an agency still counts as not alone

Account: TypeAlias = tuple[str, str]
"""The party ("" for strangers), and who it is among them."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a body, as far as that is known before its signature was seen.

    `agency` stands in the address of the request, "" for one that is not enrolled; `is_proven`: a pass says so too.
    """

    agency: str
    address: str = ""
    is_proven: bool = False

    @property
    def account(self) -> Account:
        """What its share is counted under."""
        return (self.agency, "") if self.is_proven and self.agency else ("", f"{self.address} {self.agency}")

    @property
    def is_stranger(self) -> bool:
        """Whether it shares with all the others that are not proven."""
        return not self.account[0]


class Turns(Generic[Item]):
    """What waits, in fair order. Every operation costs the same however much waits, unless `may` says no."""

    def __init__(self) -> None:
        self._parties: OrderedDict[str, OrderedDict[str, deque[Item]]] = OrderedDict()
        self._parties_count: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of_party(self, party: str) -> int:
        """How many of a party wait."""
        return self._parties_count[party]

    def of_account(self, account: Account) -> int:
        """How many of an account wait."""
        return len(self._parties.get(account[0], OrderedDict()).get(account[1], ()))

    def add(self, account: Account, item: Item) -> None:
        """Behind whoever of that account waits already; an account that is new comes behind all others."""
        party, name = account
        self._parties.setdefault(party, OrderedDict()).setdefault(name, deque()).append(item)
        self._parties_count[party] += 1
        self._count += 1

    def take(
        self,
        may: Callable[[Item], bool] = lambda _item: True,
        may_party: Callable[[str], bool] = lambda _party: True,
    ) -> Item | None:
        """Takes out the first in turn that `may` be served now; its account and party come last from then on."""
        for party, accounts in self._parties.items():
            for name, items in accounts.items() if may_party(party) else ():
                if may(items[0]):
                    item = items.popleft()
                    self._moved_back((party, name))
                    return item
        return None

    def first(self) -> Item | None:
        """Whose turn it is."""
        for accounts in self._parties.values():
            for items in accounts.values():
                return items[0]
        return None

    def remove(self, account: Account, item: Item) -> None:
        """Takes out one that waits no more; nothing if it is not there."""
        items = self._parties.get(account[0], OrderedDict()).get(account[1])
        if items is not None and item in items:
            items.remove(item)
            self._parties_count[account[0]] -= 1
            self._count -= 1
            self._tidy(account)

    def _moved_back(self, account: Account) -> None:
        party, name = account
        self._parties_count[party] -= 1
        self._count -= 1
        self._parties[party].move_to_end(name)
        self._parties.move_to_end(party)
        self._tidy(account)

    def _tidy(self, account: Account) -> None:
        party, name = account
        if not self._parties[party][name]:
            del self._parties[party][name]
        if not self._parties[party]:
            del self._parties[party]
            del self._parties_count[party]


class Company:
    """Tells whether somebody else than an account was here lately: only then must anything be kept free."""

    def __init__(self) -> None:
        self._latest: tuple[Account | None, float] = (None, 0.0)
        self._other: tuple[Account | None, float] = (None, 0.0)

    def note(self, account: Account, now_s: float) -> None:
        """It calls."""
        if self._latest[0] != account:
            self._other = self._latest
        self._latest = (account, now_s)

    def has_others(self, account: Account, now_s: float) -> bool:
        """Whether another one called within COMPANY_S."""
        return any(
            known is not None and known != account and now_s - at_s < COMPANY_S
            for known, at_s in (self._latest, self._other)
        )


@dataclass(slots=True, eq=False)
class _Job:
    account: Account
    work: Callable[[], Any]
    done: asyncio.Future[Any]


class FairThreads:
    """A few threads whose work is handed out in turns. In company nobody has all of them. Belongs to one event loop."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns: Turns[_Job] = Turns()
        self._running: Counter[Account] = Counter()
        self._free = threads
        self._company = Company()

    @property
    def waiting(self) -> int:
        """How many pieces of work wait for a thread."""
        return len(self._turns)

    def close(self) -> None:
        """Ends the threads; what waits is given up."""
        while job := self._turns.take():
            job.done.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def run(self, caller: Caller, work: Callable[..., Result], *args: object) -> Result:
        """What `work(*args)` returns or raises, in a thread, when the caller's turn has come."""
        loop = asyncio.get_running_loop()
        job = _Job(caller.account, partial(work, *args), loop.create_future())
        now_s = loop.time()
        self._company.note(job.account, now_s)
        if self._free and not self._turns and self._may(job.account, now_s):
            self._begin(loop, job)
        else:
            self._turns.add(job.account, job)
            self._hand_out(loop)
        done = job.done
        del work, args, job  # a refusal holds this frame, and must not hold the set
        try:
            result: Result = await done
        finally:
            del done
        return result

    def _hand_out(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._free and self._turns:
            job = self._turns.take(lambda job: job.done.cancelled() or self._may(job.account, loop.time()))
            if job is None:
                return
            if not job.done.cancelled():
                self._begin(loop, job)

    def _begin(self, loop: asyncio.AbstractEventLoop, job: _Job) -> None:
        self._running[job.account] += 1
        self._free -= 1
        # Through the loop, which thereby decides what a thread is: a simulation has none.
        working = loop.run_in_executor(self._pool, job.work)
        working.add_done_callback(partial(self._settle, loop, job.account, job.done))

    def _may(self, account: Account, now_s: float) -> bool:
        most = self._threads
        if most > 1 and self._company.has_others(account, now_s):
            most -= 1
        return self._running[account] < most

    def _settle(
        self, loop: asyncio.AbstractEventLoop, account: Account, done: asyncio.Future[Any], future: asyncio.Future[Any]
    ) -> None:
        self._free += 1
        self._running[account] -= 1
        if not self._running[account]:
            del self._running[account]
        if not done.done():
            error = None if future.cancelled() else future.exception()
            if future.cancelled():
                done.cancel()
            elif error is not None:
                done.set_exception(error)
            else:
                done.set_result(future.result())
        self._hand_out(loop)
