"""Telling who reported by SMS that their complaint was answered, or that something is asked of them.

The node that recorded the report sends: it alone holds the number. Of what other agencies did it is told by the hub, as
lines without words, so most SMS say that there is an answer and whose; the words are in it where this node holds them.

What was told is kept by the id of the change, and written down after smsbox took the SMS: at least once, also through
a crash and an old backup. Where to look next is a number in the same database; it only saves looking.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp
import structlog

from node.channels import sms_reply as reply
from node.channels.phone import is_short_code, normal_number
from node.directory import Agency, name_of
from node.local.evidence import check_words
from node.local.ports import LocalStore
from node.local.shared import history_of
from node.local.tracking import TO_REPORTER, said_to_reporter
from node.logs import words_of
from node.ports import Clock
from node.store.local_records import HeldChange, HeldComplaint
from sync_protocol.change_types import CONFIDENTIAL, Received
from sync_protocol.errors import Unavailable
from sync_protocol.line import parse_change, readable_content
from sync_protocol.values import AgencyId, parse_timestamp

LOOK_EVERY_S: Final = 2.0
ROUND_ROWS: Final = 200  # changes and foreign sets looked at in one go
TELL_WITHIN_MS: Final = 7 * 86_400_000  # older news only confuses; and an old backup tells nobody a year again
SMS_MAX: Final = 20  # of one complaint: an agency that answers without end must not ring a telephone without end
PAUSE_FIRST_S: Final = 5.0
PAUSE_MAX_S: Final = 300.0  # a gateway that is repaired sends again within five minutes
ANSWER_S: Final = 30.0
PASSED_OVER: Final = frozenset({400, 404})  # smsbox will never send this one; 403 is a wrong password, and waits

log = structlog.get_logger("simpul.sms")


class ToldStore(Protocol):
    """What it asks of the node's store beside LocalStore."""

    async def answered_since(
        self, after: tuple[int, int], types: Collection[str], limit: int
    ) -> tuple[Sequence[HeldComplaint], tuple[int, int]]:
        """Complaints to which such changes were made, here or by others, in the next rows; and where these end.

        `after` is (number of a change, number of a foreign set); numbers only grow.
        """
        ...

    async def told_by_sms(self, change_ids: Sequence[str]) -> set[str]:
        """Which of these changes their reporters were told of."""
        ...

    async def note_told_by_sms(self, change_id: str, at_ms: int) -> None:
        """This one was told now. Durable when it returns; once more is nothing."""
        ...

    async def sms_looked_to(self) -> tuple[int, int]:
        """The `after` that was looked to last; (0, 0) in the beginning."""
        ...

    async def move_sms_looked_to(self, after: tuple[int, int]) -> None:
        """Everything to there was told, or is nothing to tell."""
        ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """smsbox's sendsms: its address, who we are there, and the number that the SMS come from."""

    url: str
    user: str
    password: str
    sender: str


class SmsAnswers:
    """Of one process; two of one directory may tell the same one twice."""

    def __init__(
        self,
        store: LocalStore,
        told: ToldStore,
        gateway: Gateway,
        agency: AgencyId,
        directory: Mapping[AgencyId, Agency],
        clock: Clock,
        session: aiohttp.ClientSession,
    ) -> None:
        self._store = store
        self._told = told
        self._gateway = gateway
        self._agency = agency
        self._directory = directory
        self._clock = clock
        self._session = session

    async def run(self) -> None:
        """Until it is cancelled."""
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                await self.look()
                pause_s = PAUSE_FIRST_S
            except Exception as error:  # noqa: BLE001 - smsbox away, a full disk: what is to be told waits
                log.warning("sms.not_told", error=words_of(error))
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> int:
        """Tells what there is; how many SMS. Raises Unavailable where smsbox does not take them: then again later."""
        await check_words(self._store)
        count = 0
        while True:
            after = await self._told.sms_looked_to()
            complaints, last = await self._told.answered_since(after, TO_REPORTER, ROUND_ROWS)
            for complaint in complaints:
                count += await self._tell(complaint)
            if last == after:
                return count
            await self._told.move_sms_looked_to(last)

    async def _tell(self, complaint: HeldComplaint) -> int:
        history = await history_of(self._store, complaint)
        number = _number_of(history)
        if number is None:
            return 0
        ids = {parse_change(one.line).id: one for one in history[1:] if one.verdict is None and _is_told(one)}
        told = await self._told.told_by_sms(list(ids))
        count = 0
        for change_id, one in ids.items():
            if change_id not in told and self._is_news(one) and len(told) < SMS_MAX:
                count += await self._send(number, self._text(complaint, one), change_id)
                await self._told.note_told_by_sms(change_id, self._clock.now_ms())
                told.add(change_id)
        return count

    def _is_news(self, held: HeldChange) -> bool:
        return self._clock.now_ms() - parse_timestamp(parse_change(held.line).at) <= TELL_WITHIN_MS

    def _text(self, complaint: HeldComplaint, held: HeldChange) -> str:
        name = name_of(held.agency or self._agency, self._directory)
        change, is_open = parse_change(held.line), complaint.state.visibility not in CONFIDENTIAL
        words = (said_to_reporter(change, held.content) if is_open else None) or ""
        if change.type == "answered":
            return reply.answered(complaint.state.tracking, name, words)
        return reply.information_requested(complaint.state.tracking, name, words)

    async def _send(self, number: str, text: str, change_id: str) -> int:
        """1, or 0 for what smsbox refuses for ever. What stands in the request is in no log."""
        gateway = self._gateway
        query = {"username": gateway.user, "password": gateway.password, "from": gateway.sender, "to": number}
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with self._session.get(
                gateway.url,
                params=query | {"text": text, "charset": "UTF-8", "coding": "0"},
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"smsbox does not answer: {type(error).__name__}") from None
        if status in PASSED_OVER:
            log.warning("sms.passed_over", status=status, change=change_id)
            return 0
        if not 200 <= status < 300:
            raise Unavailable(f"smsbox answers {status}")
        log.info("sms.told", change=change_id)
        return 1


def _is_told(held: HeldChange) -> bool:
    return parse_change(held.line).type in TO_REPORTER


def _number_of(history: Sequence[HeldChange]) -> str | None:
    """Whom to tell: who reported by SMS, here, and whose number was not erased since."""
    if not history or history[0].agency is not None or history[0].content is None:
        return None
    data = parse_change(history[0].line).data
    if not isinstance(data, Received) or data.channel != "sms":
        return None
    reporter = (readable_content(history[0].content) or {}).get("reporter")
    written = reporter.get("phone") if isinstance(reporter, dict) else None
    number = normal_number(written) if isinstance(written, str) else ""
    return number if number.startswith("+") and not is_short_code(number) else None
