"""The address that smsbox calls: recorded once and answered alike however often it asks, offered where it belongs."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from node.channels.guesses import ASKERS_MAX, MISSES_MAX, GuessLimit
from node.channels.kannel_request import QUERY_MAX_BYTES, TEXT_MAX_BYTES, decode_text, read_part
from sync_protocol.change_types import Handed, Received
from sync_protocol.transitions import State
from sync_protocol.values import format_tracking
from tests.edge.node_api import MovableClock
from tests.edge.sms_node import DESK, SECRET, SENDER, SmsNode, sms_node

TRACKING = re.compile(r"PANRB-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SmsNode]:
    async with sms_node(tmp_path) as served:
        yield served


def tracking_in(text: str) -> str:
    (found,) = TRACKING.findall(text)
    return str(found)


async def test_an_sms_becomes_a_complaint_that_is_offered_to_the_agency_it_names(node: SmsNode) -> None:
    text = await node.tell("PekalonganKota jalan rusak di Jl. Merdeka", "m-1", ts="2026-01-05 03:04")
    (held,) = await node.held()
    assert tracking_in(text) == held.state.tracking
    assert "Kota Pekalongan" in text
    assert (held.state.owner, held.state.offer_to, held.state.channel) == (DESK, "33.75", "sms")
    (first, received, said), (second, offered, _) = await node.changes(held)
    assert (first, second) == ("received", "offered")
    assert isinstance(received, Received)
    assert received.visibility == "anonymous"
    assert offered == Handed(reason="named_by_reporter", to="33.75")
    assert said["text"] == "jalan rusak di Jl. Merdeka"
    assert said["keyword"] == "PekalonganKota"
    assert said["reporter"] == {"phone": "+6281234567890"}


async def test_the_number_is_in_no_change_line_and_in_no_log(node: SmsNode, capfd: pytest.CaptureFixture[str]) -> None:
    await node.tell("PekalonganKota jalan rusak", "m-1")
    await node.send("x" * 13_000, "m-2")
    await node.send("jalan rusak", "")
    await node.raw(f"from={SENDER}&from={SENDER}&text=jalan+rusak&id=m-3")
    (held,) = await node.held()
    lines = [change.line for change in await node.store.complaint_changes(held.no)]
    logged = "".join(capfd.readouterr())
    assert "/sms" in logged
    for place in (*(line.decode() for line in lines), logged):
        assert "81234567890" not in place
        assert "jalan" not in place


async def test_a_repeated_request_is_answered_in_the_same_words_and_changes_nothing(node: SmsNode) -> None:
    first = await node.tell("PekalonganKota jalan rusak", "m-1")
    again = [await node.tell("PekalonganKota jalan rusak", "m-1", ts="2026-01-05 03:04") for _ in range(3)]
    (held,) = await node.held()
    assert {first, *again} == {first}
    assert [name for name, *_ in await node.changes(held)] == ["received", "offered"]


async def test_twenty_deliveries_of_one_message_at_once_are_one_complaint(node: SmsNode) -> None:
    texts = await asyncio.gather(*(node.tell("Kediri jalan rusak", "m-1") for _ in range(20)))
    assert len(set(texts)) == 1
    assert len(await node.held()) == 1


async def test_two_messages_of_one_person_with_the_same_words_are_two_complaints(node: SmsNode) -> None:
    first, second = await node.tell("Kediri banjir", "m-1"), await node.tell("Kediri banjir", "m-2")
    assert tracking_in(first) != tracking_in(second)
    assert len(await node.held()) == 2


async def test_another_text_under_an_id_that_was_used_is_refused_and_changes_nothing(node: SmsNode) -> None:
    await node.tell("PekalonganKota jalan rusak", "m-1")
    for text, sender in (("PekalonganKota jembatan rusak", SENDER), ("PekalonganKota jalan rusak", "6281300000000")):
        answer = await node.send(text, "m-1", sender=sender)
        assert (answer.status, answer.kind) == (422, "idempotency-key-reused")
    assert len(await node.held()) == 1


@pytest.mark.parametrize("message", ["", "a b", "x" * 129, "ä"])
async def test_a_message_without_a_usable_id_is_refused(node: SmsNode, message: str) -> None:
    answer = await node.send("PekalonganKota jalan rusak", message)
    assert (answer.status, answer.kind) == (422, "malformed")
    assert '"where":"id"' in answer.text
    assert await node.held() == []


@pytest.mark.parametrize(
    "text", ["Pekalongan jalan rusak", "Padang jalan rusak", "NegeriDongeng jalan rusak", "jalan rusak di Kediri"]
)
async def test_what_names_no_agency_for_certain_stays_with_the_desk_with_all_its_words(
    node: SmsNode, text: str
) -> None:
    answer = await node.tell(text, "m-1")
    (held,) = await node.held()
    assert (held.state.owner, held.state.offer_to) == (DESK, None)
    assert "Admin nasional" in answer
    assert tracking_in(answer) == held.state.tracking
    ((_, _, said),) = await node.changes(held)
    assert said["text"] == text


async def test_at_a_node_that_is_not_the_desk_it_is_offered_to_the_desk(tmp_path: Path) -> None:
    async with sms_node(tmp_path, agency="33.75") as node:
        await node.tell("Kediri jalan rusak", "m-1")
        await node.tell("jalan rusak", "m-2")
        await node.tell("PekalonganKota jalan rusak", "m-3")
        own, unnamed, ambiguous = await node.held()
        assert (own.state.owner, own.state.offer_to) == ("33.75", None)
        assert (await node.changes(unnamed))[1][1] == Handed(reason="no_agency_named", to=DESK)
        assert (await node.changes(ambiguous))[1][1] == Handed(reason="ambiguous_name", to=DESK)


async def test_an_agency_that_takes_no_part_is_not_offered_anything(tmp_path: Path) -> None:
    async with sms_node(tmp_path, is_agency=lambda code: code == DESK) as node:
        first = await node.tell("PekalonganKota jalan rusak", "m-1")
        (held,) = await node.held()
        assert held.state.offer_to is None
        assert "belum terhubung" in first
        assert await node.tell("PekalonganKota jalan rusak", "m-1") == first
    async with sms_node(tmp_path / "..", agency="35.71", is_agency=lambda code: code == DESK) as node:
        await node.tell("PekalonganKota jalan rusak", "m-1")
        (held,) = await node.held()
        assert (await node.changes(held))[1][1] == Handed(reason="not_connected", to=DESK)


async def test_a_message_delivered_again_does_not_take_a_complaint_from_an_officer(tmp_path: Path) -> None:
    enrolled = {DESK}
    async with sms_node(tmp_path, is_agency=enrolled.__contains__) as node:
        await node.tell("PekalonganKota jalan rusak", "m-1")
        (held,) = await node.held()
        await node.record(held, "verified", data={"class": "complaint_ordinary"})
        enrolled.add("33.75")
        await node.tell("PekalonganKota jalan rusak", "m-1")
        (held,) = await node.held()
        assert (held.state.state, held.state.offer_to) == (State.VERIFIED, None)


@pytest.mark.parametrize("text", ["", " ", "PekalonganKota", "INFO"])
async def test_nothing_to_record_is_answered_with_how_to_write(node: SmsNode, text: str) -> None:
    answer = await node.tell(text, "m-1")
    assert "1708" in answer or "STATUS" in answer
    assert await node.held() == []


@pytest.mark.parametrize("sender", ["", "9" * 41, "62%0a812", "%ff%fe", "TELKOMSEL"])
async def test_a_report_is_taken_in_whoever_sends_it(node: SmsNode, sender: str) -> None:
    assert (await node.raw(f"from={sender}&id=m-1&text=Kediri+jalan+rusak")).status == 200
    (held,) = await node.held()
    ((_, _, said),) = await node.changes(held)
    assert said.get("reporter") == ({"phone": sender} if sender == "TELKOMSEL" else None)


async def test_our_own_answer_that_comes_back_is_not_answered(node: SmsNode) -> None:
    assert await node.tell("Terima kasih. Laporan Anda nomor …", "m-1", sender="1708") == ""
    assert await node.held() == []


async def test_the_moment_of_sending_counts_unless_the_gateways_clock_is_wrong(node: SmsNode) -> None:
    hour_ago_s = node.clock.now_ms() // 1000 - 3_600
    await node.tell("Kediri satu", "m-1", ts=str(hour_ago_s))
    await node.tell("Kediri dua", "m-2", ts="1999-01-01 00:00")
    await node.tell("Kediri tiga", "m-3", ts="2999-01-01 00:00")
    await node.tell("Kediri empat", "m-4", ts="kemarin")
    *others, first = [held.state.received_at for held in await node.held()]
    assert first[:10] + first[11:19] < min(others)[:10] + min(others)[11:19]
    assert {moment[:4] for moment in others} == {first[:4]}


async def test_status_tells_state_owner_and_next_deadline(node: SmsNode) -> None:
    number = tracking_in(await node.tell("Kediri jalan rusak", "m-1"))
    text = await node.tell(f"status {number.lower().replace('-', ' ')}", "m-2")
    assert number in text
    assert "diterima" in text
    assert "Kementerian Pendayagunaan" in text
    assert re.search(r"Batas berikutnya \d\d-\d\d-\d{4}\.", text)
    (held,) = await node.held()
    await node.record(held, "offered", data={"to": "35.71", "reason": "jurisdiction"})
    assert "diteruskan ke Kota Kediri" in await node.tell(number, "m-3")
    assert len(await node.held()) == 1


async def test_status_says_none_of_the_words(node: SmsNode) -> None:
    number = tracking_in(await node.tell("Kediri pejabat menerima suap", "m-1"))
    assert "suap" not in await node.tell(f"STATUS {number}", "m-2")


async def test_who_guesses_numbers_is_stopped_and_others_are_not(node: SmsNode) -> None:
    number = tracking_in(await node.tell("Kediri jalan rusak", "m-1"))
    wrong = [format_tracking("PANRB", guess) for guess in range(MISSES_MAX + 1)]
    missed = [await node.tell(f"STATUS {guess}", f"g-{guess}") for guess in wrong[:MISSES_MAX]]
    assert len(set(missed)) == 1
    assert "tidak ditemukan" in missed[0]
    assert await node.tell(f"STATUS {wrong[0]}", f"g-{wrong[0]}") == missed[0]
    for stopped in (wrong[-1], number):
        assert "Terlalu banyak" in await node.tell(f"STATUS {stopped}", "g-x")
    assert number in await node.tell(f"STATUS {number}", "m-2", sender="6281399999999")


def test_guesses_are_forgotten_after_an_hour_and_askers_are_bounded() -> None:
    class Clock(MovableClock):
        later_s = 0.0

        def monotonic_s(self) -> float:
            return self.later_s

    clock = Clock()
    limit = GuessLimit(clock)
    for guess in range(MISSES_MAX):
        limit.miss("one", str(guess))
    assert not limit.allows("one", "new")
    assert limit.allows("one", "0")
    clock.later_s = 3_601
    assert limit.allows("one", "new")
    clock.later_s = 0
    for asker in range(ASKERS_MAX):
        limit.miss(str(asker), "x")
    assert limit.allows("one", "new")


async def test_without_a_setting_there_is_no_such_address(tmp_path: Path) -> None:
    async with sms_node(tmp_path, allow="") as node:
        assert (await node.send("PekalonganKota jalan rusak", "m-1")).status == 404


@pytest.mark.parametrize(
    ("allow", "secret", "said", "status"),
    [
        ("", SECRET, SECRET, 200),
        ("", SECRET, SECRET + "x", 403),
        ("", SECRET, "", 403),
        ("127.0.0.0/8", "", "", 200),
        ("10.0.0.1, 192.168.0.0/16", "", "", 403),
        ("10.0.0.1", SECRET, SECRET, 403),
        ("127.0.0.1", SECRET, "", 403),
        ("127.0.0.1", SECRET, SECRET, 200),
    ],
)
async def test_only_the_gateway_may_call(tmp_path: Path, allow: str, secret: str, said: str, status: int) -> None:
    async with sms_node(tmp_path, allow=allow, secret=secret) as node:
        parameters = {"secret": said} if said else {}
        assert (await node.send("PekalonganKota jalan rusak", "m-1", **parameters)).status == status
        assert len(await node.held()) == (status == 200)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("id=m-1&text=" + "a" * (TEXT_MAX_BYTES + 1), 413),
        ("id=m-1&text=" + "a" * QUERY_MAX_BYTES, 413),
        ("id=m-1&text=" + "a" * (4 * QUERY_MAX_BYTES), 400),
        ("&".join(f"p{number}=1" for number in range(40)) + "&id=m-1&text=jalan", 413),
        ("id=m-1&id=m-2&text=jalan", 422),
        ("", 422),
        ("%", 422),
    ],
)
async def test_long_and_hostile_queries_are_refused_and_record_nothing(node: SmsNode, query: str, status: int) -> None:
    assert (await node.raw(query)).status == status
    assert await node.held() == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("text=Kediri+jalan+%C3%A9l%C3%A9vasi+%F0%9F%9A%A7&charset=UTF-8&coding=0", "Kediri jalan élévasi 🚧"),
        ("text=Kediri+caf%E9+%A320&charset=ISO-8859-1&coding=0", "Kediri café £20"),
        ("text=Kediri+%80+harga&charset=WINDOWS-1252", "Kediri € harga"),
        ("text=" + quote("Kediri 道路 rusak".encode("utf-16-be")) + "&charset=UTF-16BE&coding=2", "Kediri 道路 rusak"),
        ("text=" + quote("Kediri 道路".encode("utf-16-be")) + "&coding=2", "Kediri 道路"),
        ("text=Kediri+rusak&charset=8-BIT&coding=1", "Kediri rusak"),
        ("text=Kediri+caf%E9&charset=UTF-8", "Kediri café"),
        ("text=Kediri+caf%E9&charset=klingon", "Kediri café"),
        ("text=&raw=Kediri+jalan", "Kediri jalan"),
        ("text=Kediri%00+jalan%07%0D%0Arusak&charset=UTF-8", "Kediri jalan\nrusak"),
        ("text=Kediri+%22%5C%22+rusak&charset=UTF-8", 'Kediri "\\" rusak'),
    ],
)
async def test_every_charset_of_a_gateway_is_read(node: SmsNode, query: str, said: str) -> None:
    assert (await node.raw(f"from={SENDER}&to=1708&id=m-1&{query}")).status == 200
    (held,) = await node.held()
    assert (await node.changes(held))[0][2]["text"] == said


async def test_a_text_of_the_longest_kind_made_of_quotes_fits_its_line(node: SmsNode) -> None:
    assert (await node.raw("id=m-2&text=a" + '"' * (TEXT_MAX_BYTES - 1))).status == 200
    (held,) = await node.held()
    assert len((await node.changes(held))[0][2]["text"]) == TEXT_MAX_BYTES


async def test_whatever_bytes_an_sms_is_made_of_it_is_answered_and_recorded_once(node: SmsNode) -> None:
    chance = random.Random(1708)
    charsets = ("", "UTF-8", "UTF-16BE", "ISO-8859-1", "8-BIT")
    recorded = 0
    for number in range(60):
        query = f"id=r-{number}&charset={chance.choice(charsets)}&text={quote(b'Kediri ' + chance.randbytes(60))}"
        first, again = await node.raw(query), await node.raw(query)
        assert (first.status, first.text) == (200, again.text)
        recorded += "nomor PANRB-" in first.text
        assert len(await node.held()) == recorded
    assert recorded > 50


def test_text_that_fits_no_charset_is_read_all_the_same() -> None:
    assert decode_text("jalan 道".encode("utf-16-be")[:-1], "UTF-16BE") == "jalan \ufffd"
    assert decode_text(b"\xff\xfe\x81", "UTF-8") == "ÿþ\ufffd"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain; charset=ISO-8859-1", "text/plain"])
async def test_a_post_says_the_same_as_a_get(node: SmsNode, kind: str) -> None:
    body = b"text=Kediri+caf%C3%A9&charset=UTF-8" if "form" in kind else "Kediri café".encode("latin-1")
    query = f"id=m-1&from={SENDER}" if "form" in kind else "id=m-1"
    headers = {"Content-Type": kind, "X-Kannel-From": SENDER, "X-Kannel-To": "1708"}
    answer = await node.raw(query, method="POST", data=body, headers=headers)
    assert answer.status == 200
    (held,) = await node.held()
    ((_, _, said),) = await node.changes(held)
    assert (said["text"], said["reporter"]) == ("Kediri café", {"phone": "+6281234567890"})


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("text/plain", b"a" * (QUERY_MAX_BYTES + 1), 413),
        ("application/x-www-form-urlencoded", b"id=m-2&text=jalan", 422),
    ],
)
async def test_posts_that_cannot_be_read_are_refused(node: SmsNode, kind: str, body: bytes, status: int) -> None:
    answer = await node.raw("id=m-1", method="POST", data=body, headers={"Content-Type": kind})
    assert answer.status == status
    assert await node.held() == []


async def test_parts_that_are_posted_are_joined_as_well(node: SmsNode) -> None:
    for number in (1, 2):
        headers = {"Content-Type": "application/octet-stream", "X-Kannel-Time": "2026-01-05 03:04:05"}
        headers["X-Kannel-UDH"] = f"%05%00%03%2A%02%0{number}"
        query = f"id=p-{number}&from={SENDER}&to=1708"
        await node.raw(query, method="POST", data=PARTS[number].encode(), headers=headers)
    (held,) = await node.held()
    assert (await node.changes(held))[-1][2]["text"] == PARTS[1] + PARTS[2]


def udh(number: int, total: int, reference: int = 42) -> str:
    return "".join(map(chr, (5, 0, 3, reference, total, number)))


PARTS = ("Pekalongan Kota jal", "an rusak di depan p", "asar, sudah lama.")


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1), (3, 3, 2, 2, 1, 1, 3)])
async def test_parts_of_a_long_message_are_joined_in_any_order(node: SmsNode, order: tuple[int, ...]) -> None:
    texts = [await node.tell(PARTS[no - 1], f"p-{no}", udh=udh(no, 3), ts="2026-01-05 03:04") for no in order]
    (held,) = await node.held()
    assert held.state.offer_to == "33.75"
    joined = [said for name, _, said in await node.changes(held) if name == "amended"]
    assert [said["text"] for said in joined] == ["jalan rusak di depan pasar, sudah lama."]
    assert held.state.tracking in texts[0]
    assert texts == [texts[0] if number == order[0] else "" for number in order]


async def test_parts_that_come_at_once_are_joined_once(node: SmsNode) -> None:
    await asyncio.gather(
        *(node.tell(PARTS[no - 1], f"p-{no}", udh=udh(no, 3), ts="2026-01-05 03:04") for no in (3, 1, 2, 2, 3, 1))
    )
    (held,) = await node.held()
    assert [name for name, *_ in await node.changes(held)] == ["received", "noted", "noted", "amended", "offered"]


async def test_a_part_that_never_comes_leaves_the_rest_with_the_desk(node: SmsNode) -> None:
    await node.tell(PARTS[0], "p-1", udh=udh(1, 3))
    await node.tell(PARTS[2], "p-3", udh=udh(3, 3))
    (held,) = await node.held()
    assert (held.state.owner, held.state.offer_to) == (DESK, None)
    said = [said.get("text", said.get("note")) for _, _, said in await node.changes(held)]
    assert said == [PARTS[0], PARTS[2]]


async def test_a_reference_used_again_begins_another_message(node: SmsNode) -> None:
    for number in (1, 2):
        await node.tell(f"Kediri bagian {number} ", f"a-{number}", udh=udh(number, 2), ts="2026-01-05 03:04")
    for number in (1, 2):
        await node.tell(f"Kediri lagi {number} ", f"b-{number}", udh=udh(number, 2), ts="2026-01-05 09:04")
    second, first = await node.held()
    assert (await node.changes(first))[-1][2]["text"] == "Kediri bagian 1 Kediri bagian 2"
    assert (await node.changes(second))[-1][2]["text"] == "Kediri lagi 1 Kediri lagi 2"


def test_headers_of_parts_are_read_and_others_are_whole_messages() -> None:
    short, long = read_part(bytes((5, 0, 3, 42, 3, 2))), read_part(bytes((6, 8, 4, 1, 42, 3, 2)))
    assert short is not None
    assert long is not None
    assert (short.reference, short.total, short.number) == (42, 3, 2)
    assert (long.reference, long.total, long.number) == (298, 3, 2)
    behind = read_part(bytes((9, 5, 2, 0, 0, 0, 3, 42, 3, 2)))
    assert behind == short
    for header in (
        b"",
        b"\x05",
        bytes((5, 0, 3, 42, 3, 0)),
        bytes((5, 0, 3, 42, 3, 4)),
        bytes((5, 0, 3, 42, 1, 1)),
        bytes((4, 0, 3, 42, 3)),
        bytes((3, 0, 9, 1)),
        bytes((255,) * 200),
    ):
        assert read_part(header) is None


async def test_other_addresses_still_want_a_token(node: SmsNode) -> None:
    async with node.session.get(f"{node.url}/v1/complaints") as response:
        assert response.status == 401
    async with node.session.get(f"{node.url}/sms/../v1/status") as response:
        assert response.status == 401


@pytest.mark.parametrize(("kind", "words"), [("application/json", "text/plain"), (None, "docs/channels.md")])
async def test_what_is_wrong_with_a_call_of_smsbox_has_a_next_step_that_fits(
    node: SmsNode, kind: str | None, words: str
) -> None:
    body, method = (None, "GET") if kind is None else (b"{}", "POST")
    headers = None if kind is None else {"Content-Type": kind}
    answer = await node.raw(f"from={SENDER}&text=x", method=method, data=body, headers=headers)
    assert answer.kind == ("malformed" if kind is None else "unsupported-media-type")
    problem = json.loads(answer.text)
    assert words in problem["next"]
    assert "application/json" not in problem["next"]
    assert "openapi" not in problem["next"]
