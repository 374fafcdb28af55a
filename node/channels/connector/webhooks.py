"""Telling another system what becomes of the complaints that it reported here: HMAC-signed POSTs, at least once.

Wherever the complaint lives by now: what other agencies do comes by the inbox, without words. Changes are told in the
order of the log, as far as it is known here. What was told is kept by the change's id, written down after the answer: a
crash in between tells it once more. Where to look next is two numbers in the same database; they only save looking.
What a system refuses for good (400, 404, 410, 422) is passed over and logged; for anything else it is told again later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp
import msgspec
import structlog

from node.channels.connector.settings import Connector
from node.channels.connector.signature import HEADER, sign
from node.local.ports import LocalStore
from node.local.shared import history_of
from node.local.tracking import said_to_reporter
from node.logs import words_of
from node.ports import Clock
from node.store.local_records import HeldChange, HeldComplaint
from sync_protocol.line import parse_change
from sync_protocol.values import AgencyId

ROUND_ROWS: Final = 200  # changes and foreign sets looked at in one go
LOOK_EVERY_S: Final = 2.0
PAUSE_FIRST_S: Final = 5.0
PAUSE_MAX_S: Final = 900.0  # a system that is repaired hears of it within a quarter of an hour
ANSWER_S: Final = 30.0
PASSED_OVER: Final = frozenset({400, 404, 410, 422})

_logger = structlog.get_logger("simpul.connector")


class ConnectorStore(Protocol):
    """What it asks of the node's store beside LocalStore."""

    async def looked_to(self, system: str) -> tuple[int, int]:
        """The `after` that was looked to last; (0, 0) in the beginning."""
        ...

    async def move_looked_to(self, system: str, after: tuple[int, int]) -> None:
        """Everything to there was told, or is nothing to tell; never moves back."""
        ...

    async def changed_since(
        self, system: str, after: tuple[int, int], limit: int
    ) -> tuple[Sequence[HeldComplaint], tuple[int, int]]:
        """Complaints with a source of that system to which something was done, here or by others, in the next rows; and
        where these end. `after` is (number of a change, number of a foreign set); numbers only grow.
        """
        ...

    async def told_of(self, system: str, change_ids: Sequence[str]) -> set[str]:
        """Which of these changes the system was told of."""
        ...

    async def note_told(self, system: str, change_id: str) -> None:
        """This one it was told now. Durable when it returns; once more is nothing."""
        ...


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body: their number, ours, what was done and by which agency, and who has the complaint by now.

    `change` is the key by which a repeat is known. `text` is what was said to the reporter, where it is held here.
    """

    system: str
    id: str
    complaint: str
    tracking: str
    change: str
    type: str
    agency: str
    rev: int
    state: str
    owner: str
    at: str
    text: str | None = None


@dataclass
class _Rest:
    until_s: float = 0.0
    pause_s: float = PAUSE_FIRST_S


class Webhooks:
    """Of one process; several of one directory tell at least once together, too."""

    def __init__(
        self,
        store: LocalStore,
        told: ConnectorStore,
        connectors: Sequence[Connector],
        agency: AgencyId,
        clock: Clock,
        session: aiohttp.ClientSession,
    ) -> None:
        self._store = store
        self._told = told
        self._connectors = [one for one in connectors if one.webhook_url is not None]
        self._agency = agency
        self._clock = clock
        self._session = session
        self._rests = {one.system: _Rest() for one in self._connectors}

    async def run(self) -> None:
        """Until it is cancelled. Each system for itself: one that answers slowly keeps no other waiting."""
        async with asyncio.TaskGroup() as together:
            for connector in self._connectors:
                together.create_task(self._keep_telling(connector))

    async def _keep_telling(self, connector: Connector) -> None:
        while True:
            try:
                await self.tell(connector)
            except Exception as error:  # noqa: BLE001 - a full disk, a locked database: what is to be told waits
                _logger.warning("connector.failed", system=connector.system, error=words_of(error))
            await self._clock.sleep(LOOK_EVERY_S)

    async def tell(self, connector: Connector) -> int:
        """What there is to tell, unless the system is being left alone for a while; how many changes it was told."""
        if await self._store.is_behind():
            return 0
        rest, count = self._rests[connector.system], 0
        while self._clock.monotonic_s() >= rest.until_s:
            after = await self._told.looked_to(connector.system)
            complaints, last = await self._told.changed_since(connector.system, after, ROUND_ROWS)
            for complaint in complaints:
                for status in await self._untold(connector.system, complaint, after[0]):
                    if not await self._tell_one(connector, status):
                        rest.until_s = self._clock.monotonic_s() + rest.pause_s
                        rest.pause_s = min(2 * rest.pause_s, PAUSE_MAX_S)
                        return count
                    rest.pause_s = PAUSE_FIRST_S
                    await self._told.note_told(connector.system, status.change)
                    count += 1
            if last == after:
                return count
            await self._told.move_looked_to(connector.system, last)
        return count

    async def _untold(self, system: str, complaint: HeldComplaint, told_no: int) -> list[Status]:
        """What it was not told yet, in the order of the log. Of our own up to `told_no` it was told all there is.

        Only of complaints that came in here: of others their own node tells.
        """
        if complaint.state.minted_by != self._agency:
            return []
        history = await history_of(self._store, complaint)
        fresh = [one for one in history if one.verdict is None and (one.agency is not None or one.no > told_no)]
        statuses = [self._status(system, complaint, one) for one in fresh]
        told = await self._told.told_of(system, [status.change for status in statuses])
        return [status for status in statuses if status.change not in told]

    def _status(self, system: str, complaint: HeldComplaint, held: HeldChange) -> Status:
        state, change = complaint.state, parse_change(held.line)
        return Status(
            system=system,
            id="" if state.source is None else state.source.id,
            complaint=str(complaint.id),
            tracking=state.tracking,
            change=change.id,
            type=change.type,
            agency=str(held.agency or self._agency),
            rev=change.rev,
            state=state.state.label,
            owner=str(state.owner),
            at=change.at,
            text=said_to_reporter(change, held.content),
        )

    async def _tell_one(self, connector: Connector, told: Status) -> bool:
        body = msgspec.json.encode(told)
        headers = {
            "Content-Type": "application/json",
            HEADER: sign(connector.secret, body, self._clock.now_ms() // 1000),
        }
        try:
            async with self._session.post(
                str(connector.webhook_url),
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            ) as response:
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            _logger.info("connector.away", system=connector.system, error=type(error).__name__)
            return False
        if status in PASSED_OVER:
            _logger.warning("connector.refused", system=connector.system, status=status, change=told.change)
        elif not 200 <= status < 300:
            _logger.info("connector.away", system=connector.system, status=status)
            return False
        return True
