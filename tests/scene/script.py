"""The script: a complaint of Kediri, from a telephone to the regency that is responsible, and to the end.

Every step goes over the wire as it would in an office; what is told of it is what the programs answered. `due` keeps
what the owner's node said was due after each change, for the auditor to be held against.
"""

from __future__ import annotations

from typing import Final

from sync_protocol.values import AgencyId
from tests.edge.inbox_lab import DESK
from tests.scene.auditing import Due
from tests.scene.cast import CITY, REGENCY, Country, Office
from tests.scene.story import Story, due_words

COMPLAINT_SMS: Final = "KediriKota jalan ke pasar Gurah berlubang dalam, sudah tiga motor jatuh"
CITIZEN: Final = "Warga"


class Script:
    """Plays once."""

    def __init__(self, country: Country, story: Story) -> None:
        self.country = country
        self.story = story
        self.complaint = ""
        self.number = ""
        self.receipt = ""
        self.due: dict[str, Due] = {}

    async def play(self) -> None:
        """From the first SMS to the rating."""
        await self._an_sms_comes()
        await self._the_city_declines()
        await self._the_desk_offers_it_to_the_regency()
        await self._the_regency_answers()
        await self._the_citizen_replies()
        await self._it_closes_by_itself()
        await self._the_citizen_rates()

    async def _an_sms_comes(self) -> None:
        country, desk = self.country, self.country.desk
        await country.until("2026-02-17T13:12")
        self._tell(
            CITIZEN, f"SMS ke 1708: “{COMPLAINT_SMS}”", "An SMS to 1708: the road to Gurah market is full of holes."
        )
        self.receipt = await desk.sms(COMPLAINT_SMS, "kannel-1")
        page = await desk.list_complaints()
        assert len(page) == 1, "one SMS is one complaint"
        self.complaint, self.number = page[0]["complaint"], page[0]["tracking"]
        self._tell(
            desk.name, f"Jawaban: “{self.receipt}”", "Answered with the number; offered to the city that was named."
        )
        words = due_words(*await self._note_due(desk))
        self._tell(
            "Kalender", f"Hari ini Imlek, tidak dihitung. {words[0]}", f"Chinese New Year: not counted. {words[1]}"
        )
        asked = await desk.asks_by_sms(f"status {self.number.lower()}", "kannel-2")
        self._tell(
            CITIZEN, f"SMS “STATUS {self.number}” → “{asked}”", "Whoever has the number may ask where it stands."
        )
        await desk.sms(COMPLAINT_SMS, "kannel-1")  # the gateway did not hear our answer, and asks once more, late
        await country.spread()

    async def _the_city_declines(self) -> None:
        country, city, desk = self.country, self.country.city, self.country.desk
        await country.until("2026-02-18T01:30")
        offer = (await city.complaint(self.complaint))["complaint"]["offer"]
        note = "Jalan itu jalan kabupaten."
        await city.change(self.complaint, "declined", offer=offer, reason="not_in_jurisdiction", note=note)
        await country.spread()
        shown = (await desk.complaint(self.complaint))["complaint"]
        assert (shown["owner"], shown["bounces"]) == (DESK, 1)
        self._tell(
            city.name,
            f"Menolak, bukan wewenang: “{note}” Penolakan ke-{shown['bounces']}.",
            f"Declined, “the regency's road”: bounce {shown['bounces']}. The desk owns it still.",
        )
        await self._note_due(desk)

    async def _the_desk_offers_it_to_the_regency(self) -> None:
        country, desk, regency = self.country, self.country.desk, self.country.regency
        await country.until("2026-02-18T02:05")
        await desk.change(self.complaint, "offered", to=str(REGENCY), reason="other_authority", note="Jalan kabupaten.")
        self._tell(desk.name, "Menawarkan kepada Kabupaten Kediri.", "The desk offers it to the regency.")
        await self._note_due(desk)
        await country.spread()
        await country.until("2026-02-18T04:40")
        offer = (await regency.complaint(self.complaint))["complaint"]["offer"]
        await regency.change(self.complaint, "accepted", offer=offer)
        await self._tell_due(
            regency,
            "Menerima; laporan kini miliknya, dengan seluruh riwayatnya.",
            "Accepted: it is theirs now, with its whole history.",
        )
        await country.spread()

    async def _the_regency_answers(self) -> None:
        country, regency = self.country, self.country.regency
        await country.until("2026-02-19T02:00")
        await regency.change(self.complaint, "verified", **{"class": "complaint_ordinary"})
        await self._tell_due(
            regency, "Memverifikasi: pengaduan tidak berkadar pengawasan.", "Verified as an ordinary complaint."
        )
        await regency.change(self.complaint, "assigned", unit="dinas-pupr")
        await self._tell_due(regency, "Disposisi ke Dinas PUPR.", "Assigned to the public works office.")
        await country.spread()
        await country.until("2026-02-19T08:15")
        await regency.change(self.complaint, "answered", text="Lubang sudah kami tambal hari ini.")
        await self._tell_due(
            regency, "Menjawab: “Lubang sudah kami tambal hari ini.”", "Answered: the holes were filled today."
        )
        await country.spread()

    async def _the_citizen_replies(self) -> None:
        country, regency = self.country, self.country.regency
        await country.until("2026-02-19T11:20")
        await regency.change(self.complaint, "replied", text="Baru separuh, dekat jembatan masih berlubang.")
        await self._tell_due(
            regency,
            "Warga membalas: “Baru separuh, dekat jembatan masih berlubang.”",
            "The citizen replies: only half of it. The clock to settle it runs anew.",
        )
        await country.spread()
        await country.until("2026-02-20T06:30")
        await regency.change(self.complaint, "answered", text="Sisanya selesai ditambal, foto terlampir di kantor.")
        await self._tell_due(regency, "Menjawab lagi: “Sisanya selesai ditambal.”", "Answered again: the rest is done.")
        await country.spread()

    async def _it_closes_by_itself(self) -> None:
        country, regency = self.country, self.country.regency
        await country.until("2026-03-02T16:59")  # a minute before the end of the tenth day, in Kediri
        assert not any(country.closed.values()), "closed before its quiet period was over"
        await country.until("2026-03-02T17:00")
        assert country.closed == {DESK: 0, CITY: 0, REGENCY: 1}
        shown = (await regency.complaint(self.complaint))["complaint"]
        assert (shown["state"], shown["closed_by"], shown["reason"]) == ("closed", "system", "quiet_period")
        await self._tell_due(
            regency,
            "Sepuluh hari tanpa balasan: laporan menutup dirinya sendiri.",
            "Ten days without a reply: it closes by itself, and says that the system did it.",
        )
        await country.spread()

    async def _the_citizen_rates(self) -> None:
        country, regency = self.country, self.country.regency
        await country.until("2026-03-03T01:05")
        await regency.change(self.complaint, "rated", rating=4, text="Terima kasih, akhirnya beres.")
        await self._tell_due(regency, "Warga memberi nilai 4 dari 5.", "The citizen rates it: 4 of 5.")
        await country.spread()

    def _tell(self, who: str, indonesian: str, english: str) -> None:
        self.story.tell(self.country.lab.clock.at_ms, who, indonesian, english)

    async def _tell_due(self, office: Office, indonesian: str, english: str) -> None:
        words = due_words(*await self._note_due(office))
        self._tell(office.name, f"{indonesian} {words[0]}", f"{english} {words[1]}")

    async def _note_due(self, office: Office) -> Due:
        """What the owner's node says is due after its newest change."""
        await office.close_what_is_quiet()  # measures what came in
        shown = await office.complaint(self.complaint)
        summary = shown["complaint"]
        assert AgencyId(summary["owner"]) == office.agency
        due = (summary["due_at"], summary["duty"])
        self.due[shown["history"][-1]["id"]] = due
        return due
