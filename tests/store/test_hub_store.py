"""The contract of HubStore (node/hub/ports.py), run on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from node.hub.ports import HubStore
from node.store.hub_records import Fork, Grant, GrownLeaf, Invitation, LogLeaf, NamedFile
from node.store.hub_store import SqlHubStore
from node.store.postgres_hub import PostgresHubStore
from sync_protocol.errors import Corrupt, Unavailable
from tests.sim.disk import Disk, Mount
from tests.sim.hub_state import HubState
from tests.sim.memory_hub import MemoryHubStore
from tests.store.hub_samples import a_set, a_statement, checkpoint, commit_of

Opener = Callable[[], Awaitable[HubStore]]


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Opener, Opener]:
    """How to create and how to open one and the same database."""
    if request.param == "sqlite":
        return partial(SqlHubStore.create, tmp_path / "hub.db"), partial(SqlHubStore.open, tmp_path / "hub.db")
    if request.param == "memory":  # the simulation's
        mount = Mount(Disk("log", HubState()))
        return partial(MemoryHubStore.create, mount), partial(MemoryHubStore.open, mount)
    url = request.getfixturevalue("postgres_url")
    return partial(PostgresHubStore.create, url), partial(PostgresHubStore.open, url)


@pytest.fixture
async def store(opener: tuple[Opener, Opener]) -> AsyncIterator[HubStore]:
    opened = await opener[0]()
    yield opened
    await opened.close()


async def test_an_empty_store_has_nothing(store: HubStore) -> None:
    assert await store.newest_checkpoint() is None
    assert await store.checkpoint_covering(0) is None
    assert await store.entries(0, 10) == []
    assert await store.heads() == []
    assert await store.leaves(0, 10, 1_000) == []


async def test_what_was_appended_is_read_back_whole(store: HubStore) -> None:
    first, second = a_set(1, "33.75", 1, hidden=1), a_set(2, "35.71", 1)
    await store.append(commit_of(0, a_statement(0), first, second))
    assert await store.newest_checkpoint() == checkpoint(3, 0)
    assert await store.entries(0, 99) == [b"statement 0", b"manifest 1", b"manifest 2"]
    assert await store.entries(1, 2) == [b"manifest 1"]
    assert await store.entries_at([2, 0, 7]) == {0: b"statement 0", 2: b"manifest 2"}
    assert await store.statements() == [a_statement(0)]
    assert await store.statement_of(a_statement(0).digest) == 0
    assert await store.statement_of(first.stored.digest) is None
    assert [head.agency for head in await store.heads()] == ["33.75", "35.71"]
    assert await store.find_sets([("33.75", 1), ("33.75", 2)]) == {("33.75", 1): first.stored}
    assert await store.set_at(2) == second.stored
    assert await store.sets_after(2) == {"35.71": 1}
    assert await store.set_parts(1) == (b"changes 1", b"contents 1")
    assert await store.set_parts(0) is None


async def test_what_others_appended_comes_with_the_checkpoints_that_cover_it(store: HubStore) -> None:
    first, second = a_set(1, "33.75", 1), a_set(2, "35.71", 1)
    await store.append(commit_of(0, a_statement(0), first))
    await store.append(commit_of(2, second))
    heads = {head.agency: head for head in await store.heads()}
    assert await store.grown(0, 99) == [
        GrownLeaf(0, b"statement 0", None, None),
        GrownLeaf(1, b"manifest 1", heads["33.75"], checkpoint(2, 0)),
        GrownLeaf(2, b"manifest 2", heads["35.71"], checkpoint(3, 2)),
    ]
    assert [leaf.index for leaf in await store.grown(1, 2)] == [1]
    assert await store.grown(3, 9) == []


async def test_a_head_is_the_newest_set_of_its_agency(store: HubStore) -> None:
    await store.append(commit_of(0, a_set(0, "33.75", 1), a_set(1, "33.75", 2)))
    await store.append(commit_of(2, a_set(2, "33.75", 3)))
    head = await store.head("33.75")
    assert head is not None
    assert (head.seq, head.index, head.received_at_ms) == (3, 2, 5_002)
    assert await store.head("35.71") is None
    assert [found.seq for found in await store.sets_of("33.75", 2, 10)] == [2, 3]
    assert [found.seq for found in await store.sets_of("33.75", 1, 1)] == [1]


async def test_an_append_that_does_not_follow_the_newest_checkpoint_writes_nothing(store: HubStore) -> None:
    await store.append(commit_of(0, a_statement(0)))
    with pytest.raises(Unavailable):
        await store.append(commit_of(0, a_set(0, "33.75", 1)))
    with pytest.raises(Unavailable):
        await store.append(commit_of(2, a_set(2, "33.75", 1)))
    assert await store.newest_checkpoint() == checkpoint(1, 0)
    assert await store.heads() == []


async def test_an_append_that_fails_half_way_leaves_nothing_behind(store: HubStore) -> None:
    await store.append(commit_of(0, a_set(0, "33.75", 1)))
    with pytest.raises(Exception, match=r"(?i)unique|constraint"):
        await store.append(commit_of(1, a_statement(1), a_set(2, "33.75", 1)))
    assert await store.newest_checkpoint() == checkpoint(1, 0)
    assert await store.statements() == []
    assert await store.entries(0, 9) == [b"manifest 0"]


async def test_of_two_appends_at_once_one_wins(store: HubStore) -> None:
    await store.append(commit_of(0, a_statement(0)))
    rivals = [store.append(commit_of(1, a_set(1, agency, 1))) for agency in ("33.75", "35.71", "13.71")]
    outcomes = await asyncio.gather(*rivals, return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) == 2
    assert len(await store.heads()) == 1


@pytest.mark.parametrize("frame_bytes", [100, 300_000])
async def test_of_two_openings_that_append_at_once_exactly_one_wins(
    store: HubStore, opener: tuple[Opener, Opener], frame_bytes: int
) -> None:
    other = await opener[1]()
    frame = b"f" * frame_bytes
    try:
        for size in range(0, 30, 3):
            rivals = []
            for rival, agency, count in ((store, "33.75", 3), (other, "35.71", 2)):
                newest = {head.agency: head.seq for head in await store.heads()}.get(agency, 0)
                sets = [a_set(size + n, agency, newest + 1 + n) for n in range(count)]
                whole = commit_of(size, *(replace(new, changes_frame=frame, contents_frame=frame) for new in sets))
                rivals.append(rival.append(whole))
            outcomes = await asyncio.gather(*rivals, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes if outcome is not None] == [Unavailable]
            newest_size = (await other.newest_checkpoint() or checkpoint(0, 0)).size
            assert len(await store.entries(0, 99)) == newest_size
            if newest_size < size + 3:
                await store.append(commit_of(newest_size, a_statement(newest_size)))
    finally:
        await other.close()


async def test_large_frames_go_in_with_everything_else_or_not_at_all(store: HubStore) -> None:
    frame = bytes(range(256)) * 8_192
    new = replace(a_set(1, "33.75", 1), changes_frame=frame, contents_frame=frame[::-1])
    fork = Fork("33.75", 1, 4, b"h" * 32, b"o" * 32, b"held", b"other", 9, 0)
    await store.append(replace(commit_of(0, a_statement(0), new), forks=[fork]))
    assert await store.set_parts(1) == (frame, frame[::-1])
    assert await store.leaves(0, 9, 3 * len(frame)) == [
        LogLeaf(0, b"statement 0", None),
        LogLeaf(1, b"manifest 1", frame),
    ]
    assert await store.forks() == [fork]
    with pytest.raises(Exception, match=r"(?i)unique|constraint"):
        await store.append(commit_of(2, replace(a_set(2, "33.75", 1), changes_frame=frame, contents_frame=frame)))
    with pytest.raises(Unavailable):
        await store.append(commit_of(1, replace(a_set(1, "33.75", 2), changes_frame=frame, contents_frame=frame)))
    assert await store.newest_checkpoint() == checkpoint(2, 0)
    assert await store.set_parts(2) is None


async def test_sets_come_with_their_frames_in_order_until_there_are_bytes_enough(store: HubStore) -> None:
    bare = replace(a_set(2, "33.75", 3, hidden=3), changes_frame=b"", contents_frame=b"")
    sets = [a_set(0, "33.75", 1), a_set(1, "33.75", 2), bare, a_set(3, "33.75", 4), a_set(4, "35.71", 1)]
    await store.append(replace(commit_of(0, *sets), is_restored=True))
    frames = [(one.stored, (one.changes_frame, one.contents_frame)) for one in sets]
    frames[2] = (bare.stored, None)  # type: ignore[assignment]
    assert await store.sets_from("33.75", 1, 9, 1_000) == frames[:4]
    assert await store.sets_from("33.75", 3, 9, 1_000) == frames[2:4]
    assert await store.sets_from("33.75", 1, 2, 1_000) == frames[:2]
    assert await store.sets_from("33.75", 1, 9, 20) == frames[:2]
    assert await store.sets_from("33.75", 1, 9, 1) == frames[:1]
    assert await store.sets_from("33.75", 5, 9, 1_000) == []


async def test_only_heads_that_moved_since_a_place_are_asked_for(store: HubStore) -> None:
    await store.append(commit_of(0, a_set(0, "33.75", 1), a_set(1, "35.71", 1)))
    await store.append(commit_of(2, a_set(2, "33.75", 2)))
    assert [head.agency for head in await store.heads(1)] == ["33.75", "35.71"]
    assert [head.agency for head in await store.heads(2)] == ["33.75"]
    assert await store.heads(3) == []


async def test_checkpoints_are_found_by_size_and_by_what_they_cover(store: HubStore) -> None:
    await store.append(commit_of(0, a_statement(0), a_statement(1)))
    await store.append(commit_of(2, a_statement(2), a_statement(3)))
    assert await store.checkpoint_of(2) == checkpoint(2, 0)
    assert await store.checkpoint_of(3) is None
    assert await store.checkpoint_covering(1) == checkpoint(2, 0)
    assert await store.checkpoint_covering(2) == checkpoint(4, 2)
    assert await store.checkpoint_covering(4) is None


async def test_tiles_widen_and_are_found_by_level_and_number(store: HubStore) -> None:
    await store.append(replace(commit_of(0, a_statement(0)), tiles={(0, 0): b"a", (7, 2**40): b"far"}))
    await store.append(replace(commit_of(1, a_statement(1)), tiles={(0, 0): b"ab", (1, 0): b"c"}))
    found = await store.tiles([(0, 0), (1, 0), (7, 2**40), (0, 1)])
    assert found == {(0, 0): b"ab", (1, 0): b"c", (7, 2**40): b"far"}


async def test_leaves_come_in_order_and_bounded_but_never_none(store: HubStore) -> None:
    await store.append(commit_of(0, a_statement(0), a_set(1, "33.75", 1), a_set(2, "33.75", 2)))
    whole = await store.leaves(0, 3, 10_000)
    assert whole == [
        LogLeaf(0, b"statement 0", None),
        LogLeaf(1, b"manifest 1", b"changes 1"),
        LogLeaf(2, b"manifest 2", b"changes 2"),
    ]
    assert await store.leaves(1, 3, 1) == whole[1:2]
    assert await store.leaves(0, 2, 10_000) == whole[:2]


async def test_contents_are_replaced_only_if_nobody_else_did(store: HubStore) -> None:
    new = a_set(0, "33.75", 1, hidden=2)
    await store.append(commit_of(0, new))
    completed = replace(new.stored, hidden=1, erased=1)
    assert await store.replace_contents(new.stored, completed, b"more", [b"L" * 32])
    assert not await store.replace_contents(new.stored, completed, b"stale", [])
    assert await store.set_parts(0) == (b"changes 0", b"more")
    assert await store.erased_leaves(0) == {b"L" * 32}
    assert await store.erased_lines() == {(0, b"L" * 32)}
    found = await store.set_at(0)
    assert found is not None
    assert (found.hidden, found.erased) == (1, 1)


async def test_an_invitation_keeps_the_first_key_that_used_it(store: HubStore) -> None:
    invitation = Invitation(b"t" * 32, "33.75", 7)
    await store.add_invitation(invitation)
    assert await store.invitation(b"t" * 32) == invitation
    assert await store.invitation(b"u" * 32) is None
    used = replace(invitation, used_by="kid", used_index=0)
    await store.append(replace(commit_of(0, a_statement(0)), used_invitations=[used]))
    again = replace(invitation, used_by="other", used_index=1)
    await store.append(replace(commit_of(1, a_statement(1)), used_invitations=[again]))
    assert await store.invitation(b"t" * 32) == used


async def test_grants_end_by_name(store: HubStore) -> None:
    await store.add_grant(Grant(b"a" * 32, "bpk", with_content=True, created_at_ms=1))
    await store.add_grant(Grant(b"b" * 32, "kpk", with_content=False, created_at_ms=1))
    assert await store.end_grants("bpk", 9) == 1
    assert await store.end_grants("bpk", 10) == 0
    ended, kept = await store.grant(b"a" * 32), await store.grant(b"b" * 32)
    assert ended is not None
    assert ended.ended_at_ms == 9
    assert kept is not None
    assert kept.ended_at_ms is None
    assert await store.grant(b"c" * 32) is None


async def test_a_pair_of_forked_manifests_is_kept_once(store: HubStore) -> None:
    fork = Fork("33.75", 1, 4, b"h" * 32, b"o" * 32, b"held", b"other", 9, 0)
    await store.append(replace(commit_of(0, a_statement(0)), forks=[fork]))
    await store.append(replace(commit_of(1, a_statement(1)), forks=[replace(fork, statement_index=1)]))
    assert await store.forks() == [fork]


async def test_everything_survives_reopening(opener: tuple[Opener, Opener]) -> None:
    create, open_ = opener
    first = await create()
    await first.append(commit_of(0, a_set(0, "33.75", 1)))
    await first.close()
    again = await open_()
    try:
        assert await again.newest_checkpoint() == checkpoint(1, 0)
        assert await again.set_parts(0) == (b"changes 0", b"contents 0")
    finally:
        await again.close()


async def test_a_database_without_schema_is_not_opened(opener: tuple[Opener, Opener]) -> None:
    with pytest.raises(Corrupt, match="schema none"):
        await opener[1]()


def a_named_file(
    index: int, leaf: bytes, *, agency: str = "33.75", file: bytes = b"f" * 32, size: int = 7
) -> NamedFile:
    return NamedFile(index, leaf, agency, b"complaint", file, size)


async def test_files_are_found_by_the_lines_that_name_them_until_these_are_erased(store: HubStore) -> None:
    await store.append(commit_of(0, a_set(0, "33.75", 1, hidden=0), a_set(1, "35.71", 1)))
    first, second = a_named_file(0, b"one"), a_named_file(1, b"two", agency="35.71")
    assert await store.add_file([second])
    assert await store.add_file([first])
    assert await store.add_file([first])
    assert await store.lines_naming(b"f" * 32) == [first, second]
    assert await store.files_to_erase(10) == []
    held = await store.set_at(0)
    assert held is not None
    assert await store.replace_contents(held, replace(held, erased=held.erased + 1), b"frame", [b"one"])

    assert await store.lines_naming(b"f" * 32) == [second]
    assert await store.files_to_erase(10) == [first]
    assert await store.named_among([b"f" * 32, b"g" * 32]) == {b"f" * 32}
    await store.forget_file(first)
    assert await store.files_to_erase(10) == []
    assert not await store.add_file([first])
    assert await store.lines_naming(b"f" * 32) == [second]
    beside = a_named_file(0, b"two")
    assert await store.add_file([first, beside])
    assert await store.lines_naming(b"f" * 32) == [beside, second]


async def test_a_file_that_two_lines_name_takes_its_room_once(store: HubStore) -> None:
    await store.add_file([a_named_file(0, b"one", size=7)])
    await store.add_file([a_named_file(1, b"two", size=7)])
    await store.add_file([a_named_file(1, b"three", file=b"g" * 32, size=5)])
    await store.add_file([a_named_file(2, b"four", agency="35.71", file=b"h" * 32, size=90)])
    assert await store.file_bytes_of("33.75") == 12
    assert await store.file_bytes_of("13.71") == 0
