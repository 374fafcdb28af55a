"""What is erased of a set in one go is what each erasure would have taken alone (protocol §3.4)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from sync_protocol.change_set import ChangeSet, hide_contents, parse_change_set, split_parts, verify_lines
from sync_protocol.erasing import erase_contents
from sync_protocol.merkle import leaf_hash
from tests.protocol.set_samples import content_line, hostile_set, sample_lines, sample_set

CHANGES = 9
LEAVES = [leaf_hash(content_line(number)) for number in range(CHANGES)]


def with_a_line_too_few() -> ChangeSet:
    """Order pairs nothing there: a line belongs to the change that it names."""
    changes, contents = sample_lines(CHANGES, CHANGES)
    return parse_change_set(*split_parts(hostile_set(changes, contents[:-1])))


@pytest.mark.parametrize("whole", [sample_set(CHANGES, CHANGES), with_a_line_too_few()], ids=["honest", "a line less"])
def test_many_erasures_in_one_go_take_what_each_would_take_alone(whole: ChangeSet) -> None:
    for seed in range(300):
        random = Random(seed)
        hidden = random.sample(LEAVES, random.choice((0, 0, 1, 4)))
        copy = replace(whole, contents=hide_contents(whole, hidden))
        wanted = [
            (
                random.sample(range(CHANGES), random.randint(1, 3)),
                frozenset(random.sample(LEAVES, random.randint(1, 4))),
            )
            for _ in range(random.randint(0, 6))
        ]
        erased = erase_contents(copy, wanted)
        alone = [erase_contents(copy, [one]) for one in wanted]
        assert erased.for_good == [one.for_good[0] for one in alone], seed
        assert set(erased.gone) == {leaf for one in alone for leaf in one.gone}, seed
        assert len(erased.gone) == len(set(erased.gone)), seed
        left = copy
        for one in wanted:
            left = replace(left, contents=erase_contents(left, [one]).contents)
        assert erased.contents == left.contents, seed
        verify_lines(replace(copy, contents=erased.contents))


def test_an_erasure_takes_the_lines_of_its_own_changes_alone() -> None:
    for number, whole in ((0, sample_set(CHANGES, CHANGES)), (5, with_a_line_too_few())):
        erased = erase_contents(whole, [([number], LEAVES), ([1], LEAVES[2:])])
        assert (erased.gone, erased.for_good) == ([LEAVES[number]], [{LEAVES[number]}, frozenset()])
