"""The contract of RecoveryStore (node/hub/recovery_ports.py), run on every implementation."""

from __future__ import annotations

from dataclasses import replace

from node.hub.ports import HubStore
from node.store.hub_records import Invitation, MissingSet, NewSet, RecoveredLeaf
from tests.store.hub_samples import a_set, a_statement, commit_of
from tests.store.test_hub_store import opener, store

__all__ = ["opener", "store"]  # the fixtures of the other suite

STATEMENT = RecoveredLeaf(3, b"statement 3")
SET = RecoveredLeaf(4, b"manifest 4", "33.75", 2, hidden=3)


async def test_leaves_are_kept_by_place_and_the_first_one_stays(store: HubStore) -> None:
    await store.keep_leaves([STATEMENT, SET])
    await store.keep_leaves([STATEMENT, replace(SET, entry=b"another")])
    assert await store.recovered_places(0, 99) == [3, 4]
    assert await store.recovered_places(4, 99) == [4]
    assert await store.recovered_entries(0, 4) == {3: b"statement 3"}
    assert await store.recovered_leaves(0, 99) == [STATEMENT, SET]
    assert await store.recovered_set("33.75", 2) == SET
    assert await store.recovered_set("33.75", 3) is None
    await store.keep_leaves([replace(SET, entry=b"the proved one")], instead=True)
    assert await store.recovered_entries(4, 5) == {4: b"the proved one"}


async def test_a_leaf_that_comes_again_keeps_its_lines(store: HubStore) -> None:
    await store.keep_leaves([SET])
    await store.keep_lines(4, b"changes", b"contents", 0)
    await store.keep_leaves([SET], instead=True)
    assert await store.recovered_set("33.75", 2) == replace(
        SET, changes_frame=b"changes", contents_frame=b"contents", hidden=0
    )


async def test_lines_give_way_to_lines_of_which_fewer_are_hidden(store: HubStore) -> None:
    await store.keep_leaves([SET])
    await store.keep_lines(4, b"changes", b"hidden", 1)
    assert await store.wanted_seqs("33.75") == (2, 2)
    await store.keep_lines(4, b"changes", b"more hidden", 2)
    await store.keep_lines(4, b"changes", b"contents", 0)
    await store.keep_lines(4, b"changes", b"other", 0)
    leaf = await store.recovered_set("33.75", 2)
    assert leaf is not None
    assert leaf.contents_frame == b"contents"
    assert await store.wanted_seqs("33.75") is None


async def test_lines_of_a_set_that_is_in_the_log_again_are_not_kept_beside_it(store: HubStore) -> None:
    """A process that has not heard of it yet would leave words there that are erased in the log later."""
    partly = replace(SET, index=0, seq=1, changes_frame=b"changes", contents_frame=b"hidden", hidden=1)
    await store.keep_leaves([partly])
    await store.append(replace(commit_of(0, a_set(0, "33.75", 1)), is_restored=True))
    await store.forget_recovered()
    await store.keep_lines(0, b"changes", b"contents", 0)
    leaf = await store.recovered_set("33.75", 1)
    assert leaf is not None
    assert (leaf.changes_frame, leaf.contents_frame) == (None, None)


async def test_what_lacks_lines_is_named_by_agency_and_seq(store: HubStore) -> None:
    await store.keep_leaves([SET, replace(SET, index=9, seq=7), replace(SET, index=5, agency="35.71", seq=1)])
    await store.keep_lines(5, b"changes", b"", 0)
    assert await store.recovered_seqs() == {"33.75": [2, 7], "35.71": [1]}
    assert await store.recovered_seqs(without_lines=True) == {"33.75": [2, 7]}
    assert await store.wanted_seqs("33.75") == (2, 7)
    assert await store.wanted_seqs("35.71") is None


async def test_checkpoints_are_kept_by_size_and_all_is_let_go_of_together(store: HubStore) -> None:
    await store.keep_checkpoints({7: b"seven", 5: b"five"})
    await store.keep_checkpoints({7: b"other", 9: b"nine"})
    await store.keep_leaves([STATEMENT])
    assert await store.recovered_checkpoints(5) == [(7, b"seven"), (9, b"nine")]
    await store.forget_recovered()
    assert (await store.recovered_checkpoints(0), await store.recovered_places(0, 99)) == ([], [])
    await store.keep_checkpoints({})
    await store.keep_leaves([])


async def test_sets_of_which_lines_are_missing_stay_wanted_until_nobody_has_more(store: HubStore) -> None:
    whole, partly = replace(SET, index=5, seq=3), replace(SET, index=6, seq=4)
    await store.keep_leaves([STATEMENT, SET, whole, partly])
    await store.keep_lines(5, b"changes", b"contents", 0)
    await store.keep_lines(6, b"changes", b"hidden", 1)
    await store.forget_recovered()
    assert await store.recovered_leaves(0, 99) == [SET, replace(partly, hidden=1)]
    assert await store.wanted_seqs("33.75") == (2, 4)
    await store.stop_wanting(4)
    assert await store.wanted_seqs("33.75") == (4, 4)
    await store.stop_wanting(6)
    assert await store.wanted_seqs("33.75") is None


async def test_a_set_that_is_restored_without_lines_is_in_the_log_and_missing(store: HubStore) -> None:
    whole, bare = a_set(1, "33.75", 1), a_set(2, "33.75", 2)
    missing = NewSet(replace(bare.stored, hidden=3), b"", b"")
    await store.append(replace(commit_of(0, a_statement(0), whole, missing), is_restored=True))
    assert await store.missing_sets(9) == [MissingSet(2, "33.75", 2)]
    assert await store.wanted_seqs("33.75") == (2, 2)
    assert await store.set_parts(2) is None
    found = await store.set_at(2)
    assert found == missing.stored
    assert found.is_missing
    assert [leaf.changes_frame for leaf in await store.leaves(0, 9, 9_000)] == [None, b"changes 1", None]
    assert [head.seq for head in await store.heads()] == [2]


async def test_a_missing_set_is_filled_once(store: HubStore) -> None:
    missing = NewSet(replace(a_set(0, "33.75", 1).stored, hidden=3), b"", b"")
    await store.append(replace(commit_of(0, missing), is_restored=True))
    filled = replace(missing.stored, hidden=2, erased=1)
    assert await store.fill_missing(filled, (b"changes", b"contents"), [b"e" * 32])
    assert not await store.fill_missing(replace(filled, hidden=0), (b"other", b"other"))
    assert await store.set_parts(0) == (b"changes", b"contents")
    found = await store.set_at(0)
    assert found is not None
    assert (found.hidden, found.erased, found.is_missing) == (2, 1, False)
    assert await store.erased_leaves(0) == {b"e" * 32}
    assert (await store.missing_sets(9), await store.wanted_seqs("33.75")) == ([], None)


async def test_invitations_that_nobody_used_are_found_by_agency(store: HubStore) -> None:
    for number, agency in enumerate(("33.75", "33.75", "35.71")):
        await store.add_invitation(Invitation(bytes([number]) * 32, agency, 1_000))
    used = Invitation(bytes(32), "33.75", 1_000, "kid", 0)
    await store.append(replace(commit_of(0, a_statement(0)), used_invitations=[used]))
    assert [one.token_hash for one in await store.open_invitations(["33.75", "64.72"])] == [b"\x01" * 32]
