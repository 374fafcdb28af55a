"""Many sets in one answer: who may have them, in which order, and where a page ends (protocol §7.1)."""

from __future__ import annotations

from pathlib import Path

from node.link.request_signature import sign_request
from node.system import SystemClock
from sync_protocol.compression import decode_body
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.set_pages import PAGE_BYTES, PAGE_SETS_MAX, SET_PAGE_MEDIA_TYPE, PagedSet, parse_page
from tests.edge.hub_lab import Agency, Answer, Lab, LabClock, running_hub

LETTER = "Jalan berlubang di depan pasar."


def now() -> LabClock:
    """Signed requests need the real time."""
    clock = LabClock()
    clock.at_ms = SystemClock().now_ms()
    return clock


async def page_of(agency: Agency, query: str, signer: Agency | None = None) -> Answer:
    lab = agency.lab
    path = f"/v1/agencies/{agency.code}/change-sets{query}"
    headers = sign_request((signer or agency).signer, "GET", lab.url + path, now_ms=lab.clock.now_ms())
    return await lab.call("GET", path, headers=dict(headers))


def check(lab: Lab, agency: Agency, page: list[PagedSet], from_seq: int) -> None:
    """Each with a receipt that proves it, in order."""
    for seq, one in enumerate(page, from_seq):
        parts = decode_body(one.body, "zstd")
        text = parts.head.split(b'"')[3]
        receipt = parse_receipt(one.receipt)
        verify_receipt(receipt, text, lab.hub.log.roster.vkeys, lab.hub.log.roster.origin)
        stored = lab.hub.log.heads.get(agency.code)
        assert stored is not None
        assert seq <= stored.seq


async def test_an_agency_gets_its_own_sets_in_order_each_with_its_receipt_and_nothing_beyond_the_head(
    tmp_path: Path,
) -> None:
    async with running_hub(tmp_path, clock=now()) as lab:
        agency, other = await lab.enrol("33.75"), await lab.enrol("35.71")
        for count in (1, 0, 3):
            await agency.push_new(count)
            await other.push_new(1)
        answer = await page_of(agency, "?from=1")
        assert (answer.status, answer.headers["Content-Type"]) == (200, SET_PAGE_MEDIA_TYPE)
        page = parse_page(answer.body)
        assert len(page) == 3
        check(lab, agency, page, 1)
        assert decode_body(page[0].body, "zstd").contents.count(LETTER.encode()) == 1
        assert parse_page((await page_of(agency, "?from=3")).body) == page[2:]
        assert parse_page((await page_of(agency, "?from=4")).body) == []
        assert parse_page((await page_of(agency, "?from=999999")).body) == []
        for query in ("", "?from=0", "?from=x", "?from=1&from=2"):
            assert (await page_of(agency, query)).status == 422
        assert (await page_of(agency, "?from=1", other)).kind == "wrong-agency"
        assert (await lab.call("GET", f"/v1/agencies/{agency.code}/change-sets?from=1")).status == 401


async def test_an_auditor_without_a_grant_for_content_sees_none_in_a_page(tmp_path: Path) -> None:
    async with running_hub(tmp_path, clock=now()) as lab:
        agency = await lab.enrol("33.75")
        await agency.push_new(2)
        path = f"/v1/agencies/{agency.code}/change-sets?from=1"
        for with_content, count in ((False, 0), (True, 2)):
            token = await lab.hub.grant("budi", with_content=with_content)
            answer = await lab.call("GET", path, headers={"Authorization": f"Bearer {token}"})
            (only,) = parse_page(answer.body)
            assert decode_body(only.body, "zstd").contents.count(LETTER.encode()) == count
        assert [what for _, _, what in await lab.hub.store.content_reads()] == [f"{agency.code}/1"]


async def test_a_page_ends_where_it_has_bytes_enough_and_the_next_one_goes_on_there(tmp_path: Path) -> None:
    async with running_hub(tmp_path, clock=now()) as lab:
        agency = await lab.enrol("33.75")
        for _ in range(6):
            contents = [agency.content(lab.randomness.bytes(15_000).hex()) for _ in range(30)]
            changes = [agency.received(agency.complaint()) for _ in contents]
            await agency.push_new(changes, contents)
        page = parse_page((await page_of(agency, "?from=1")).body)
        sizes = [one.page_bytes for one in page]
        assert 1 < len(page) < 6
        assert sum(sizes[:-1]) < PAGE_BYTES <= sum(sizes)
        rest = parse_page((await page_of(agency, f"?from={len(page) + 1}")).body)
        assert len(page) + len(rest) == 6 < PAGE_SETS_MAX
        check(lab, agency, page + rest, 1)
