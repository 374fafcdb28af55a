"""What was said can be erased at the hub for good, without breaking a signature, a root or the state hash (G8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from node.hub.erasing import carry_out, erase_again
from node.hub.ports import HubStore
from node.store.complaint_keys import complaint_key
from node.store.hub_records import KeptErasure
from node.store.projection_records import Erasure
from sync_protocol.change_set import ChangeSet, hidden_leaves, hide_contents, parse_change_set, verify_lines
from sync_protocol.compression import compress_frames, decode_body
from sync_protocol.line_blocks import split_block
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import b64u_encode
from tests.edge.hub_lab import Agency, Lab, projected, running_hub

LETTER = "Tetangga saya di Jalan Veteran 12 menolak membayar retribusi."


def erasure(agency: Agency, complaint: str, *contents: bytes, rev: int = 2) -> bytes:
    leaves = [b64u_encode(leaf_hash(content)) for content in contents]
    return agency.change(complaint, "erased", {"ground": "court-order", "leaves": leaves}, rev=rev)


async def held(lab: Lab, index: int) -> ChangeSet:
    parts = await lab.hub.store.set_parts(index)
    assert parts is not None
    body = decode_body(b"".join(parts), "zstd")
    return parse_change_set(body.head, body.contents)


async def two_complaints(agency: Agency) -> tuple[list[str], list[bytes], ChangeSet]:
    complaints = [agency.complaint() for _ in range(2)]
    contents = [agency.content(LETTER), agency.content("Lampu jalan padam.")]
    change_set = agency.cut([agency.received(complaint) for complaint in complaints], contents)
    assert (await agency.push(change_set)).status == 201
    agency.took(change_set)
    return complaints, contents, change_set


async def test_an_erased_line_is_gone_from_the_set_and_everything_still_verifies(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        complaints, contents, pushed = await two_complaints(agency)
        index = lab.hub.log.size - 1
        await agency.push_new([erasure(agency, complaints[0], contents[0])])
        await projected(lab)

        copy = await held(lab, index)
        stored = await lab.hub.store.set_at(index)
    assert LETTER.encode() not in copy.contents
    assert split_block(copy.contents)[1] == contents[1]  # the other citizen's letter stays
    assert verify_lines(copy).hidden_leaves == 1
    assert copy.manifest == pushed.manifest
    assert stored is not None
    assert (stored.hidden, stored.erased) == (1, 1)


async def test_an_erased_letter_is_not_found_in_the_files_of_a_stopped_hub(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        complaint = agency.complaint()
        content = agency.content(lab.randomness.bytes(12_000).hex())  # several pages, and nothing in it compresses
        pushed = agency.cut([agency.received(complaint)], [content])
        assert (await agency.push(pushed)).status == 201
        agency.took(pushed)
        await agency.push_new([erasure(agency, complaint, content)])
        await projected(lab)
    was_stored = compress_frames(pushed.head, pushed.contents)[1]
    middle = len(was_stored) // 2
    for file in (tmp_path / "hub").rglob("*.db*"):
        assert was_stored[middle : middle + 64] not in file.read_bytes()


async def test_a_repeat_of_the_set_does_not_bring_an_erased_line_back(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        complaints, contents, pushed = await two_complaints(agency)
        index = lab.hub.log.size - 1
        await agency.push_new([erasure(agency, complaints[0], contents[0])])
        await projected(lab)

        again = await agency.push(pushed)

        assert (again.status, again.json["hidden"], again.json["erased"]) == (200, 1, 1)
        assert contents[0] not in (await held(lab, index)).contents


async def test_a_line_that_the_hub_never_saw_stays_out_when_a_repeat_shows_it_after_its_erasure(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        complaint, content = agency.complaint(), agency.content(LETTER)
        shown = agency.cut([agency.received(complaint)], [content])
        stripped = b'{"hidden":"%s","leaves":1}\n' % b64u_encode(leaf_hash(content)).encode()
        body = b"".join(compress_frames(shown.head, stripped))
        assert (await agency.send(body, 1)).status == 201
        agency.took(shown)
        index = lab.hub.log.size - 1
        await agency.push_new([erasure(agency, complaint, content)])
        await projected(lab)

        assert (await agency.push(shown)).status == 200
        assert hidden_leaves(await held(lab, index)) == 1


async def test_an_erasure_reaches_no_line_of_another_complaint(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        complaints, contents, _ = await two_complaints(agency)
        index = lab.hub.log.size - 1
        await agency.push_new([erasure(agency, complaints[0], contents[1])])
        await projected(lab)

        assert split_block((await held(lab, index)).contents) == contents


@pytest.mark.parametrize(("kept_back", "named"), [((2, 3), (1, 2, 3)), ((1, 2), (3,))])
async def test_an_erasure_reaches_no_line_of_another_complaint_either_once_its_own_is_gone(
    tmp_path: Path, kept_back: tuple[int, ...], named: tuple[int, ...]
) -> None:
    """Whoever owns one complaint of a set by now knows hashes of the other lines in it from excerpts."""
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        complaints = [agency.complaint() for _ in range(4)]
        contents = [agency.content(f"Surat {number}.") for number in range(4)]
        whole = agency.cut([agency.received(complaint) for complaint in complaints], contents)
        shown = hide_contents(whole, [leaf_hash(contents[number]) for number in kept_back])
        assert (await agency.send(b"".join(compress_frames(whole.head, shown)), 1)).status == 201
        agency.took(whole)
        index = lab.hub.log.size - 1
        await agency.push_new([erasure(agency, complaints[0], contents[0])])
        await agency.push_new([erasure(agency, complaints[0], *(contents[number] for number in named), rev=3)])
        await projected(lab)

        again = await agency.push(whole)

        assert (again.json["hidden"], again.json["erased"]) == (1, 1)
        assert split_block((await held(lab, index)).contents)[1:] == contents[1:]


async def test_an_erasure_that_the_fold_refuses_erases_nothing(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency, other = await lab.enrol("33.75"), await lab.enrol("35.71")
        complaints, contents, _ = await two_complaints(agency)
        index = lab.hub.log.size - 1
        await other.push_new([erasure(other, complaints[0], contents[0])])
        await projected(lab)

        assert split_block((await held(lab, index)).contents) == contents


async def test_a_rebuild_gives_the_same_state_and_erases_what_an_old_backup_brought_back(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        complaints, contents, pushed = await two_complaints(agency)
        index = lab.hub.log.size - 1
        await agency.push_new([erasure(agency, complaints[0], contents[0])])
        await projected(lab)
        await _bring_back(lab, index, pushed)

        before, after = await lab.hub.rebuild()

        assert before == after
        assert hidden_leaves(await held(lab, index)) == 1


async def _bring_back(lab: Lab, index: int, pushed: ChangeSet) -> None:
    """The frame as an old backup would have it."""
    stored = await lab.hub.store.set_at(index)
    assert stored is not None
    frame = compress_frames(pushed.head, pushed.contents)[1]
    assert await lab.hub.store.replace_contents(stored, stored, frame, ())


def an_erasure(complaint: str, pointer: int, *contents: bytes) -> Erasure:
    """As the fold tells it, of a complaint with one change."""
    leaves = frozenset(map(leaf_hash, contents))
    return Erasure(0, "33.75", complaint_key(complaint), leaves, pointer.to_bytes(8, "big"))


async def test_a_crash_between_erasing_and_committing_is_made_good(tmp_path: Path) -> None:
    async with running_hub(tmp_path, projector=False) as lab:
        agency = await lab.enrol("33.75")
        complaints, contents, _ = await two_complaints(agency)
        index = lab.hub.log.size - 1
        await agency.push_new([erasure(agency, complaints[0], contents[0])])
        erased = an_erasure(complaints[0], index << 16, contents[0])
        assert await carry_out(lab.hub.store, lab.hub.lock, lab.hub.projection, [erased]) == 1  # here the process died
        await lab.hub.projector.catch_up()

        stored = await lab.hub.store.set_at(index)
        assert stored is not None
        assert (stored.hidden, stored.erased) == (1, 1)


class CountingStore:
    """A hub's store that counts how often a set is written anew."""

    def __init__(self, store: HubStore) -> None:
        self._store = store
        self.rewritten = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def replace_contents(self, *words: Any) -> bool:
        self.rewritten += 1
        return await self._store.replace_contents(*words)


async def test_a_set_is_written_anew_once_whatever_is_to_go_from_it_and_each_erasure_reaches_its_own(
    tmp_path: Path,
) -> None:
    async with running_hub(tmp_path, projector=False) as lab:
        agency = await lab.enrol("33.75")
        _, contents, _ = await two_complaints(agency)
        third = agency.content("Air tidak mengalir.")
        await agency.push_new(1, [third])
        index, store = lab.hub.log.size - 2, CountingStore(lab.hub.store)
        letters = [leaf_hash(content) for content in contents]
        await lab.hub.lock.keep_erasures(
            [
                KeptErasure(index, (0,), frozenset(letters[1:])),  # not what was said with that change
                KeptErasure(index, (0,), frozenset(letters[:1])),
                KeptErasure(index + 1, (0,), frozenset([leaf_hash(third)])),
            ]
        )
        assert await erase_again(cast("HubStore", store), lab.hub.lock) == 2
        assert store.rewritten == 2
        assert split_block((await held(lab, index)).contents)[1] == contents[1]
        await lab.hub.lock.keep_erasures(
            [KeptErasure(index, (position,), frozenset([letter])) for position, letter in enumerate(letters)] * 2
        )
        assert await erase_again(cast("HubStore", store), lab.hub.lock) == 1
        assert store.rewritten == 3
        assert hidden_leaves(await held(lab, index)) == 2
        stored = await lab.hub.store.set_at(index)
        assert stored is not None
        assert (stored.hidden, stored.erased) == (2, 2)


async def test_the_erasures_of_one_step_write_a_set_anew_once_and_none_reaches_the_complaint_of_another(
    tmp_path: Path,
) -> None:
    async with running_hub(tmp_path, projector=False) as lab:
        agency = await lab.enrol("33.75")
        complaints = [agency.complaint() for _ in range(3)]
        contents = [agency.content(f"Surat {number}.") for number in range(3)]
        pushed = agency.cut([agency.received(complaint) for complaint in complaints], contents)
        assert (await agency.push(pushed)).status == 201
        index, store = lab.hub.log.size - 1, CountingStore(lab.hub.store)
        erasures = [
            an_erasure(complaints[0], index << 16, contents[2]),
            an_erasure(complaints[0], index << 16, contents[0]),
            an_erasure(complaints[1], index << 16 | 1, contents[1]),
        ]
        ports = cast("HubStore", store), lab.hub.lock, lab.hub.projection
        assert await carry_out(*ports, erasures) == 2
        assert store.rewritten == 1
        assert split_block((await held(lab, index)).contents)[2] == contents[2]
        kept = {leaf for one in await lab.hub.lock.erasures() for leaf in one.leaves}
        assert kept == {leaf_hash(contents[0]), leaf_hash(contents[1])}
        assert (await carry_out(*ports, erasures), store.rewritten) == (0, 1)


async def test_what_an_erasure_does_not_find_in_a_set_is_not_noted_for_ever(tmp_path: Path) -> None:
    """An office erases hundreds of letters in one step, and each complaint has changes in other sets than its own."""
    async with running_hub(tmp_path, projector=False) as lab:
        agency = await lab.enrol("33.75")
        complaints, contents, _ = await two_complaints(agency)
        index = lab.hub.log.size - 1
        erasures = [
            an_erasure(complaints[0], index << 16, contents[0]),
            an_erasure(complaints[1], index << 16 | 1, agency.content("In another set.")),
        ]
        assert await carry_out(lab.hub.store, lab.hub.lock, lab.hub.projection, erasures) == 1
        assert [one.leaves for one in await lab.hub.lock.erasures()] == [frozenset([leaf_hash(contents[0])])]
