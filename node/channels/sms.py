"""SMS as commands: every message recorded once, whatever its gateway repeats, and answered with one SMS.

A message's id is its key for ever: in the database, and, where it is a UUID as Kannel's are, on the change line, which
an old backup gets back from the hub. Recording and offering are two transactions: between them lies a complaint at this
node that a repeated delivery offers, and that the desk sees in any case.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from node.channels import sms_reply as reply
from node.channels.kannel_request import IncomingSms
from node.channels.phone import is_short_code, normal_number
from node.channels.routing import AMBIGUOUS, UNNAMED, Place, Router
from node.channels.sms_keywords import Keywords
from node.channels.sms_parts import PartsJoiner, hash_of, id_reused
from node.channels.sms_status import StatusDesk
from node.channels.sms_text import AsksHelp, AsksStatus, Report, parse_message
from node.directory import Agency, name_of
from node.local.ports import LocalStore
from node.local.recording import KEY_REUSED, Command, Recorded, RequestKey
from node.local.service import LocalService
from node.ports import Clock
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.values import AgencyId, format_timestamp

SENT_BEFORE_MAX_MS: Final = 3 * 86_400_000  # longer than any outage of ours; beyond it a gateway's clock is wrong
REFILL_WAIT_S: Final = 600.0  # an old backup fills up in seconds; what waits for longer waits in smsbox's memory alone
REFILL_RETRY_S: Final = 5.0
SYSTEM: Final = "sms"  # of the `source` on the line
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")  # of no other id it is sure that
# it says nothing about anybody: such an id may be made of a telephone number, and lines are for everybody to read

log = structlog.get_logger("simpul.sms")


class Refill:
    """Whether this is an old backup that is being filled up: which SMS it took in since is not known yet."""

    def __init__(self, store: LocalStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._since_s: float | None = None

    async def check(self) -> None:
        """Raises Unavailable, but not for long: with the hub away, twice is better than lost."""
        if not await self._store.is_behind():
            self._since_s = None
            return
        now_s = self._clock.monotonic_s()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s < REFILL_WAIT_S:
            why = "this node comes from an old backup and asks the hub first which SMS it has recorded since"
            raise Unavailable(why, retry_after_s=REFILL_RETRY_S)


@dataclass(frozen=True, slots=True)
class SmsChannel:
    """Takes in what reporters send. Keeps nothing itself that matters."""

    service: LocalService
    store: LocalStore
    clock: Clock
    keywords: Keywords
    directory: Mapping[AgencyId, Agency]
    router: Router
    statuses: StatusDesk
    refill: Refill
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # of the parts of long messages

    async def answer(self, sms: IncomingSms) -> str:
        """Records what the message says; the SMS that answers it, "" for none. Durable when it returns.

        The same message again is answered in the same words. Raises as `LocalService.record`:
        idempotency-key-reused for another text under an id that was used; and Unavailable in an old backup.
        """
        sender = normal_number(sms.sender)
        if is_short_code(sender) and sender == sms.recipient:
            return ""  # our own answer came back: two services must not talk to each other for ever
        if sms.part is not None:
            await self.refill.check()
            joiner = PartsJoiner(self.service, self.store, self.router, self.keywords, self.turn)
            return await joiner.answer(sms, sms.part, self._birth(sms, sender))
        message = parse_message(sms.text, self.keywords)
        if isinstance(message, AsksHelp):
            return reply.how_to_write(message.keyword)
        if isinstance(message, AsksStatus):
            return await self.statuses.answer(message.tracking, sender or sms.id)
        await self.refill.check()
        return await self._report(sms, sender, message)

    async def _report(self, sms: IncomingSms, sender: str, report: Report) -> str:
        command = self._birth(sms, sender)
        said = {**command.content, "text": report.text} | ({"keyword": report.keyword} if report.keyword else {})
        key = RequestKey(hash_of("sms", sms.id), hash_of(sms.sender, sms.text))
        try:
            outcome = await self.service.record(replace(command, content=said, request=key))
        except Refused as refused:
            raise (id_reused() if refused.kind == KEY_REUSED else refused) from None
        place = await self.router.route(outcome.recorded, report.agency, AMBIGUOUS if report.agencies else UNNAMED)
        log.info(
            "sms.recorded",
            message=hash_of(sms.id).hex()[:12],
            agency=report.agency,
            fits=len(report.agencies),
            place=place.name.lower(),
            repeat=outcome.is_repeat,
        )
        return self._told(outcome.recorded, report.agency, place)

    def _told(self, recorded: Recorded, agency: AgencyId | None, place: Place) -> str:
        if agency is None or place is Place.DESK:
            return reply.recorded_at_desk(recorded.tracking)
        if place is Place.DESK_INSTEAD:
            return reply.recorded_unconnected(recorded.tracking, name_of(agency, self.directory))
        return reply.recorded(recorded.tracking, name_of(agency, self.directory))

    def _birth(self, sms: IncomingSms, sender: str) -> Command:
        """The change that brings a complaint into the world, without its text and key. The number is among the words.

        Nobody asked the reporter whether their name may be shown: `anonymous`.
        """
        now_ms = self.clock.now_ms()
        sent_ms = sms.sent_at_ms
        at_ms = sent_ms if sent_ms is not None and now_ms - SENT_BEFORE_MAX_MS <= sent_ms <= now_ms else now_ms
        data: dict[str, object] = {"channel": "sms", "received_at": format_timestamp(at_ms), "visibility": "anonymous"}
        said = {"reporter": {"phone": sender}} if sender else {}
        if not _UUID.fullmatch(sms.id):
            return Command("received", data, said, role="reporter")
        data["source"] = {"system": SYSTEM, "id": sms.id}
        return Command("received", data, said, role="reporter", once_for=(SYSTEM, sms.id))
