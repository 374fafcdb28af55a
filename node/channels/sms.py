"""SMS as commands: every message recorded once, whatever its gateway repeats, and answered with one SMS.

A message's id is its key for ever. Recording and offering are two transactions: between them lies a complaint at this
node that a repeated delivery offers, and that the desk sees in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from node.channels import sms_reply as reply
from node.channels.kannel_request import IncomingSms
from node.channels.phone import is_short_code, normal_number
from node.channels.routing import AMBIGUOUS, UNNAMED, Place, Router
from node.channels.sms_keywords import Keywords
from node.channels.sms_parts import PartsJoiner, hash_of
from node.channels.sms_status import StatusDesk
from node.channels.sms_text import AsksHelp, AsksStatus, Report, parse_message
from node.directory import Agency
from node.local.ports import LocalStore
from node.local.recording import Command, Recorded, RequestKey
from node.local.service import LocalService
from node.ports import Clock
from sync_protocol.values import AgencyId, format_timestamp

SENT_BEFORE_MAX_MS: Final = 3 * 86_400_000  # longer than any outage of ours; beyond it a gateway's clock is wrong

log = structlog.get_logger("simpul.sms")


@dataclass(frozen=True, slots=True)
class SmsChannel:
    """Takes in what reporters send. Keeps nothing itself."""

    service: LocalService
    store: LocalStore
    clock: Clock
    keywords: Keywords
    directory: Mapping[AgencyId, Agency]
    router: Router
    statuses: StatusDesk

    async def answer(self, sms: IncomingSms) -> str:
        """Records what the message says; the SMS that answers it, "" for none. Durable when it returns.

        The same message again is answered in the same words. Raises as `LocalService.record`:
        idempotency-key-reused for another text under an id that was used.
        """
        sender = normal_number(sms.sender)
        if is_short_code(sender) and sender == sms.recipient:
            return ""  # our own answer came back: two services must not talk to each other for ever
        if sms.part is not None:
            joiner = PartsJoiner(self.service, self.store, self.router, self.keywords)
            return await joiner.answer(sms, sms.part, self._birth(sms, sender))
        message = parse_message(sms.text, self.keywords)
        if isinstance(message, AsksHelp):
            return reply.how_to_write(message.keyword)
        if isinstance(message, AsksStatus):
            return await self.statuses.answer(message.tracking, sender or sms.id)
        return await self._report(sms, sender, message)

    async def _report(self, sms: IncomingSms, sender: str, report: Report) -> str:
        command = self._birth(sms, sender)
        said = {**command.content, "text": report.text} | ({"keyword": report.keyword} if report.keyword else {})
        key = RequestKey(hash_of("sms", sms.id), hash_of(sms.sender, sms.text))
        outcome = await self.service.record(replace(command, content=said, request=key))
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
            return reply.recorded_unconnected(recorded.tracking, self._name(agency))
        return reply.recorded(recorded.tracking, self._name(agency))

    def _birth(self, sms: IncomingSms, sender: str) -> Command:
        """The change that brings a complaint into the world, without its text and key. The number is among the words.

        Nobody asked the reporter whether their name may be shown: `anonymous`.
        """
        now_ms = self.clock.now_ms()
        sent_ms = sms.sent_at_ms
        at_ms = sent_ms if sent_ms is not None and now_ms - SENT_BEFORE_MAX_MS <= sent_ms <= now_ms else now_ms
        data = {"channel": "sms", "received_at": format_timestamp(at_ms), "visibility": "anonymous"}
        return Command(
            type="received", data=data, content={"reporter": {"phone": sender}} if sender else {}, role="reporter"
        )

    def _name(self, code: str) -> str:
        agency = self.directory.get(AgencyId(code))
        return code if agency is None else agency.name
