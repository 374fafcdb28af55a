"""Parts of a long SMS, where the gateway does not join them itself (Kannel's bearerbox does, unless it is told not to).

Parts come in any order, again, or never. The first that comes brings the complaint into the world with its own words;
each other one is noted to it, and with the last missing one the whole text is put together, read, and routed. So every
part is durable when it is answered, and a part that never comes costs nothing but itself: the rest is with the desk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from node.channels import sms_reply as reply
from node.channels.kannel_request import IncomingSms, PartOf
from node.channels.routing import AMBIGUOUS, UNNAMED, Router
from node.channels.sms_keywords import Keywords
from node.channels.sms_text import Report, clean_text, parse_message
from node.local.ports import LocalStore
from node.local.recording import CHANGE_REFUSED, Command, Recorded, RequestKey
from node.local.service import LocalService
from node.store.complaint_keys import complaint_key
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.line import parse_content
from sync_protocol.values import ComplaintId

DAY_MS: Final = 86_400_000
GENERATIONS_MAX: Final = 16  # messages of one sender with one reference on one day: telephones count to 255 first


@dataclass(frozen=True, slots=True)
class PartsJoiner:
    """Takes in parts; keeps nothing itself."""

    service: LocalService
    store: LocalStore
    router: Router
    keywords: Keywords

    async def answer(self, sms: IncomingSms, part: PartOf, birth: Command) -> str:
        """The SMS that answers it: with the tracking number for the part that came first, "" for the others.

        `birth` is the change that begins a complaint, without text and key.
        """
        text = clean_text(sms.text)
        for generation in range(GENERATIONS_MAX):
            group = _group_of(sms, part, generation)
            said = {**birth.content, "text": text, "part": part.number, "parts": part.total}
            first = await self.service.record(replace(birth, content=said, request=RequestKey(group, group)))
            parts = await self._parts(first.recorded.complaint)
            if part.number not in parts and await self._note(sms, part, first.recorded.complaint, text):
                parts[part.number] = text
            if parts.get(part.number) != text:
                continue  # the reference is used again, for another message
            if len(parts) == part.total:
                await self._join(first.recorded.complaint, parts)
            is_first = next(iter(parts)) == part.number
            return reply.recorded_first_part(first.recorded.tracking) if is_first else ""
        raise Refused("too-large", "too many messages under one reference", where="udh")

    async def _parts(self, complaint: str) -> dict[int, str]:
        """What is here of the message: text by number of the part, in order of arrival."""
        held = await self.store.complaint(complaint_key(ComplaintId.parse(complaint)))
        if held is None:
            raise Corrupt("a complaint that was just recorded is not here")
        parts: dict[int, str] = {}
        for change in await self.store.complaint_changes(held.no):
            said = {} if change.content is None else parse_content(change.content)
            if "part" in said:
                parts.setdefault(said["part"], str(said.get("text", said.get("note"))))
        return parts

    async def _note(self, sms: IncomingSms, part: PartOf, complaint: str, text: str) -> bool:
        """Adds the part to the complaint; False where that takes nothing any more, and so is another message's."""
        command = Command(
            type="noted",
            content={"note": text, "part": part.number},
            complaint=complaint,
            role="reporter",
            request=RequestKey(hash_of("sms", sms.id), hash_of(sms.sender, sms.text)),
        )
        return await self._recorded(command) is not None

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


def _group_of(sms: IncomingSms, part: PartOf, generation: int) -> bytes:
    """What all parts of one message have in common. Gateways' clocks say the same when they deliver again."""
    day = "" if sms.sent_at_ms is None else str(sms.sent_at_ms // DAY_MS)
    names = (sms.sender, sms.recipient, day, str(part.reference), str(part.total), str(generation))
    return hash_of("sms-parts", *names)


def hash_of(*parts: str) -> bytes:
    """Each part with its length: no two lists of parts are hashed alike."""
    encoded = [part.encode("utf-8") for part in parts]
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in encoded)).digest()
