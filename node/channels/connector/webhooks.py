"""Telling another system what becomes of the complaints that it reported: HMAC-signed POSTs, in order, at least once.

How far each system was told is a number in the database, moved after its answer: a crash in between tells it once more.
What a system refuses for good (400, 404, 410, 422) is passed over and logged; for anything else it is told again later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import msgspec
import structlog

from node.channels.connector.settings import Connector
from node.channels.connector.signature import HEADER, sign
from node.logs import words_of
from node.ports import Clock
from node.store.complaint_keys import complaint_of
from node.store.local_records import SourcedChange
from sync_protocol.line import parse_change, parse_content

ROUND_CHANGES: Final = 200  # looked at in one go
LOOK_EVERY_S: Final = 2.0
PAUSE_FIRST_S: Final = 5.0
PAUSE_MAX_S: Final = 900.0  # a system that is repaired hears of it within a quarter of an hour
ANSWER_S: Final = 30.0
PASSED_OVER: Final = frozenset({400, 404, 410, 422})
_TOLD_TEXT: Final = frozenset({"answered", "information_requested"})

_logger = structlog.get_logger("simpul.connector")


class ConnectorStore(Protocol):
    """What it asks of the node's store."""

    async def is_behind(self) -> bool:
        """Whether this is an old backup, in which words may stand that were erased since."""
        ...

    async def told_to(self, system: str) -> int:
        """The number of the last change that a system was told of; 0 in the beginning."""
        ...

    async def move_told(self, system: str, no: int) -> None:
        """It was told so far, and of nothing before again; never moves back."""
        ...

    async def sourced_changes(self, system: str, after_no: int, limit: int) -> tuple[list[SourcedChange], int]:
        """Changes of this node's to complaints that came from a system, of the next `limit` changes after a number; and
        the number of the last that was looked at.
        """
        ...


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body: their number, ours, and what was done. `text` is what was said to the reporter."""

    system: str
    id: str
    complaint: str
    tracking: str
    change: str
    type: str
    rev: int
    state: str
    at: str
    text: str | None = None


@dataclass
class _Rest:
    until_s: float = 0.0
    pause_s: float = PAUSE_FIRST_S


class Webhooks:
    """Of one process; several of one directory tell at least once together, too."""

    def __init__(
        self, store: ConnectorStore, connectors: Sequence[Connector], clock: Clock, session: aiohttp.ClientSession
    ) -> None:
        self._store = store
        self._connectors = [one for one in connectors if one.webhook_url is not None]
        self._clock = clock
        self._session = session
        self._rests = {one.system: _Rest() for one in self._connectors}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            for connector in self._connectors:
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
            after = await self._store.told_to(connector.system)
            changes, last = await self._store.sourced_changes(connector.system, after, ROUND_CHANGES)
            for change in changes:
                if not await self._tell_one(connector, change):
                    rest.until_s = self._clock.monotonic_s() + rest.pause_s
                    rest.pause_s = min(2 * rest.pause_s, PAUSE_MAX_S)
                    return count
                rest.pause_s = PAUSE_FIRST_S
                await self._store.move_told(connector.system, change.no)
                count += 1
            if last == after:
                return count
            await self._store.move_told(connector.system, last)
        return count

    async def _tell_one(self, connector: Connector, change: SourcedChange) -> bool:
        body = msgspec.json.encode(_status(connector.system, change))
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
            _logger.warning("connector.refused", system=connector.system, status=status, change=change.no)
        elif not 200 <= status < 300:
            _logger.info("connector.away", system=connector.system, status=status)
            return False
        return True


def _status(system: str, held: SourcedChange) -> Status:
    change = parse_change(held.line)
    said: dict[str, Any] = {}
    if held.content is not None and change.type in _TOLD_TEXT:
        said = parse_content(held.content)
    text = said.get("text")
    return Status(
        system=system,
        id=held.source_id,
        complaint=str(complaint_of(held.key)),
        tracking=held.tracking,
        change=change.id,
        type=change.type,
        rev=change.rev,
        state=held.state,
        at=change.at,
        text=text if isinstance(text, str) else None,
    )
