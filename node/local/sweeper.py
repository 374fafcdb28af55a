"""Closing by itself what its reporter left without reply (config/deadlines.toml, `close_by_itself`).

Each look finds the answered complaints whose quiet period is over by the clock of now, and records `closed` by the
system for each that is still as it was found: at the same rev, in the transaction that writes it. So a crash, a second
process of the same directory or a reply in the same moment close nothing twice and nothing wrongly; and a clock that
was set back finds nothing, because what is due lies ahead of it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from node.deadlines.slot import slots_due
from node.deadlines.tables import Deadlines
from node.local.measuring import measure
from node.local.ports import LocalStore
from node.local.recording import Command, Outcome
from node.local.service import LocalService
from node.logs import words_of
from node.ports import Clock
from node.store.local_records import HeldComplaint

PAGE: Final = 100  # complaints looked at, and closed in one transaction; people who record meanwhile wait for one page
LOOK_EVERY_S: Final = 60.0  # one small query; so an hour that falls due is seen within a minute, however clocks jump
QUIET_PERIOD: Final = "quiet_period"

_logger = structlog.get_logger("simpul.node.sweeper")


async def sweep(store: LocalStore, service: LocalService, clock: Clock) -> int:
    """Closes everything whose quiet period is over now; how many."""
    now_ms = clock.now_ms()
    last, after, closed = slots_due("overdue", now_ms)[1], None, 0
    while found := await store.closing(last, after, PAGE):
        # Under an offer it belongs to two: whoever has it in the end is asked again.
        commands = [_closing(held, now_ms) for held in found if held.state.offer is None]
        outcomes = await service.record_all(commands) if commands else []
        closed += sum(isinstance(outcome, Outcome) for outcome in outcomes)
        after = (found[-1].slot or 0, found[-1].no)
    return closed


def _closing(held: HeldComplaint, now_ms: int) -> Command:
    return Command(
        type="closed",
        role="system",
        data={"by": "system", "reason": QUIET_PERIOD},
        complaint=str(held.id),
        at_ms=now_ms,
        expected_rev=held.state.rev,
    )


async def sweep_forever(
    store: LocalStore,
    service: LocalService,
    clock: Clock,
    deadlines: Deadlines,
    stop: asyncio.Event,
    *,
    closes: bool,
    look_every_s: float = LOOK_EVERY_S,
) -> None:
    """Measures what is unmeasured and, if it `closes`, sweeps, until `stop`. A look that fails is made again."""
    while not stop.is_set():
        try:
            await measure(store, deadlines, str(service.minting.agency))
            closed = await sweep(store, service, clock) if closes else 0
            if closed:
                _logger.info("closed by itself", count=closed)
        except Exception as error:  # noqa: BLE001 - a disk that is full or locked: the next look finds the same
            _logger.warning("sweep failed", error=words_of(error))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), look_every_s)
