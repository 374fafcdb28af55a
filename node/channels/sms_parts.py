"""Parts of a long SMS, where the gateway does not join them itself (Kannel's bearerbox does, unless it is told not to).

Parts come in any order, again, or never. The first that comes brings the complaint into the world with its own words;
each other one is noted to it, and with the last missing one the whole text is put together, read, and routed. So every
part is durable when it is answered, and a part that never comes costs nothing but itself: the rest is with the desk.

Parts of one message have sender, recipient, reference and number of parts in common, and a day: telephones use their
references again. Near its end the next day's message is looked for as well, and near its beginning the last one's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import msgspec

from node.channels import sms_reply as reply
from node.channels.kannel_request import IncomingSms, PartOf
from node.channels.routing import AMBIGUOUS, UNNAMED, Router
from node.channels.sms_keywords import Keywords
from node.channels.sms_text import Report, clean_text, parse_message
from node.local.ports import LocalStore
from node.local.recording import CHANGE_REFUSED, KEY_REUSED, Command, Recorded, RequestKey
from node.local.service import LocalService
from node.store.complaint_keys import complaint_key
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.line import readable_content
from sync_protocol.values import ComplaintId

DAY_MS: Final = 86_400_000
ACROSS_MIDNIGHT_MS: Final = 7_200_000  # a day ends at 7 in the morning in Jakarta; no message is on its way for longer
GENERATIONS_MAX: Final = 16  # messages of one sender with one reference on one day: telephones count to 255 first


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A part as it came. `keys`: that this id is of this message, and of these words as this part of it."""

    sms: IncomingSms
    part: PartOf
    text: str
    birth: Command

    @property
    def keys(self) -> tuple[RequestKey, RequestKey]:
        sms, part = self.sms, self.part
        message = hash_of("part", sms.sender, str(part.reference), str(part.total))
        return (
            RequestKey(hash_of("sms", sms.id), message),
            RequestKey(hash_of("sms-part", sms.id, str(part.number)), hash_of(sms.sender, sms.text)),
        )


@dataclass(frozen=True, slots=True)
class PartsJoiner:
    """Takes in parts; keeps nothing itself. `turn`: of two parts that come at once one is first, also at midnight."""

    service: LocalService
    store: LocalStore
    router: Router
    keywords: Keywords
    turn: asyncio.Lock

    async def answer(self, sms: IncomingSms, part: PartOf, birth: Command) -> str:
        """The SMS that answers it: with the tracking number for the part that came first, "" for the others.

        `birth` is the change that begins a complaint, without text and key. Raises Refused(idempotency-key-reused)
        where its id was another message's, or this very part's with other words.
        """
        delivery = _Delivery(sms, part, clean_text(sms.text), birth)
        async with self.turn:
            first = await self._known(delivery) or await self._fitting(delivery) or await self._begun(delivery)
            parts = await self._parts(first.complaint)
        if len(parts) == part.total:
            await self._join(first.complaint, parts)
        is_first = next(iter(parts)) == part.number
        return reply.recorded_first_part(first.tracking) if is_first else ""

    async def _known(self, delivery: _Delivery) -> Recorded | None:
        """Where it was put when it came before."""
        found = None
        for key in delivery.keys:
            found = await self.store.answer(key.key)
            if found is not None and found.body != key.body:
                raise id_reused()
        return None if found is None else msgspec.json.decode(found.answer, type=Recorded)

    async def _fitting(self, delivery: _Delivery) -> Recorded | None:
        """A message that lacks this part; its own day's first."""
        for day in _days_of(delivery.sms):
            for generation in range(GENERATIONS_MAX):
                found = await self.store.answer(_group_of(delivery, day, generation))
                if found is None:
                    break
                first = msgspec.json.decode(found.answer, type=Recorded)
                if await self._fits(first, delivery):
                    return first
        return None

    async def _begun(self, delivery: _Delivery) -> Recorded:
        """A message of which this is the first part; unless another process has just begun it."""
        part, birth = delivery.part, delivery.birth
        said = {**birth.content, "text": delivery.text, "part": part.number, "parts": part.total}
        for generation in range(GENERATIONS_MAX):
            group = _group_of(delivery, _days_of(delivery.sms)[0], generation)
            command = replace(birth, content=said, request=RequestKey(group, group), also=delivery.keys)
            outcome = await self.service.record(command)
            if not outcome.is_repeat or await self._fits(outcome.recorded, delivery):
                return outcome.recorded
        raise Refused("too-large", "too many messages under one reference", where="udh")

    async def _fits(self, first: Recorded, delivery: _Delivery) -> bool:
        """Whether it is of that message, and there by now: not if another text is, or nothing is taken any more."""
        number = delivery.part.number
        parts = await self._parts(first.complaint)
        if number in parts:
            return parts[number] == delivery.text  # else the reference is used again, for another message
        message, words = delivery.keys
        command = Command(
            type="noted",
            content={"note": delivery.text, "part": number},
            complaint=first.complaint,
            role="reporter",
            request=words,
            also=(message,),
        )
        return await self._recorded(command) is not None

    async def _parts(self, complaint: str) -> dict[int, str]:
        """What is here of the message: text by number of the part, in order of arrival."""
        held = await self.store.complaint(complaint_key(ComplaintId.parse(complaint)))
        if held is None:
            raise Corrupt("a complaint that was just recorded is not here")
        parts: dict[int, str] = {}
        for change in await self.store.complaint_changes(held.no):
            said = readable_content(change.content) or {}
            if "part" in said:
                parts.setdefault(said["part"], str(said.get("text", said.get("note"))))
        return parts

    async def _join(self, complaint: str, parts: dict[int, str]) -> None:
        """All parts are here: the whole text, and where it belongs."""
        whole = "".join(parts[number] for number in sorted(parts)).strip()
        message = parse_message(whole, self.keywords)
        report = message if isinstance(message, Report) else Report(whole)
        said = {"text": report.text} | ({"keyword": report.keyword} if report.keyword else {})
        key = hash_of("sms-joined", complaint)
        command = Command(
            type="amended", content=said, complaint=complaint, role="reporter", request=RequestKey(key, key)
        )
        recorded = await self._recorded(command)
        if recorded is not None:  # else somebody at the desk was faster, and has all parts before them
            await self.router.route(recorded, report.agency, AMBIGUOUS if report.agencies else UNNAMED)

    async def _recorded(self, command: Command) -> Recorded | None:
        """None where the complaint takes this change no more."""
        try:
            return (await self.service.record(command)).recorded
        except Refused as refused:
            if refused.kind != CHANGE_REFUSED:
                raise
            return None


def _days_of(sms: IncomingSms) -> list[str]:
    """The day of a part, and the one beside it where that is near. Gateways' clocks say the same on every delivery."""
    sent_ms = sms.sent_at_ms
    if sent_ms is None:
        return [""]
    days = (sent_ms, sent_ms - ACROSS_MIDNIGHT_MS, sent_ms + ACROSS_MIDNIGHT_MS)
    return list(dict.fromkeys(str(at_ms // DAY_MS) for at_ms in days))


def _group_of(delivery: _Delivery, day: str, generation: int) -> bytes:
    """What all parts of one message have in common."""
    sms, part = delivery.sms, delivery.part
    names = (sms.sender, sms.recipient, day, str(part.reference), str(part.total), str(generation))
    return hash_of("sms-parts", *names)


def id_reused() -> Refused:
    """For an id that another SMS has: nothing is recorded, and nobody guesses which of the two was meant."""
    detail = (
        "an SMS with another text, of another sender or of another message had this id: the gateway gives ids twice"
    )
    return Refused(KEY_REUSED, detail, where="id")


def hash_of(*parts: str) -> bytes:
    """Each part with its length: no two lists of parts are hashed alike."""
    encoded = [part.encode("utf-8") for part in parts]
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in encoded)).digest()
