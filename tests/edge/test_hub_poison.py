"""Lines made to stop the projector do not stop it (architecture G7: no poison)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_protocol.compression import decompress_part
from sync_protocol.line import format_content
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import b64u_encode
from tests.edge.hub_lab import projected, running_hub


async def test_lines_that_name_impossible_complaints_are_folded_and_the_next_set_as_well(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        names = ["33.75:" + "-" * 36, "33.75:" + "0-" * 18, "33.75:" + "f" * 36, "-.-:" + "0" * 36, ":" * 9]
        poison = [b'{"complaint":"%b"}' % name.encode() for name in names]
        await agency.push_new([*poison, b"\x21" * 2_048, b'"complaint":"' * 100, agency.received(agency.complaint())])
        await agency.push_new(1)
        await projected(lab)
        assert lab.hub.projector.trouble is None
        _, totals = await lab.hub.projection.totals()
        assert totals["applied/33.75//"] == 2
        assert totals["refused/33.75/malformed/"] == 7


async def test_attack_two_ids_that_are_cut_apart_at_another_place_do_not_stop_the_fold(
    tmp_path: Path,
) -> None:
    """Together they look like two ids; reading a letter that the shorter one does not have stopped every fold."""
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        complaint, change_id = agency.complaint(), agency.uuid()
        line = agency.change(complaint, "noted", rev=1)
        both = complaint.removeprefix("33.75") + change_id
        poison = [
            line.replace(complaint.encode(), both[:cut].encode()).replace(
                line[line.index(b'"id":"') + 6 :][:36], both[cut:].encode()
            )
            for cut in range(1, 37)
        ]
        await agency.push_new([*poison, agency.received(agency.complaint())])
        await projected(lab)
        assert lab.hub.projector.trouble is None
        _, totals = await lab.hub.projection.totals()
        assert totals["refused/33.75/malformed/"] == len(poison)
        assert totals["applied/33.75//"] == 1


async def test_heartbeats_and_sets_without_meaning_move_the_cursor(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        await agency.push_new([])
        await agency.push_new([b"x"])
        await projected(lab)
        assert (await lab.hub.projection.cursor()).size == lab.hub.log.size == 6


@pytest.mark.parametrize("has_words", [False, True])
async def test_an_erasure_in_a_set_with_fewer_words_than_it_announces_does_not_stop_the_fold(
    tmp_path: Path, has_words: bool
) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        first, second = agency.complaint(), agency.complaint()
        lines = [agency.received(first), agency.received(second)]
        change_id = lines[1].split(b'"id":"')[1][:36].decode()
        words = format_content({"text": "Rumah nomor 12."}, b"s" * 16, change_id)
        await agency.push_new(lines, [words] if has_words else [])
        index = lab.hub.log.size - 1
        leaves = [b64u_encode(leaf_hash(words))]
        for complaint in (first, second):
            erased = agency.change(complaint, "erased", {"ground": "court-order", "leaves": leaves}, rev=2)
            await agency.push_new([erased])
        await agency.push_new(1)
        await projected(lab)
        assert lab.hub.projector.trouble is None
        parts = await lab.hub.store.set_parts(index)
    assert parts is not None
    assert b"nomor 12" not in decompress_part(parts[1]) if has_words else parts[1] == b""
