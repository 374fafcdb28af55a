"""Whatever bytes a reader is given: a value or one of our own three errors, and what it takes in has one spelling."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.hunt import FOUND, INPUT_MAX_BYTES, Hunt
from tests.fuzz.mutations import MUTATIONS, Mutation, mutated
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

EXAMPLES = 60
TRIED_EACH = 400
SLOW = {"import-xlsx"}  # a workbook takes milliseconds to open
KEPT = sorted(path for path in FOUND.iterdir() if "--" in path.name)
SETTINGS = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_taken_in(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert seeds
    for seed in seeds:
        assert len(seed) <= TARGETS[name].limit
        assert TARGETS[name].try_out(seed), seed[:200]


@pytest.mark.parametrize("name", TARGETS)
@SETTINGS
@given(data=st.binary(max_size=300))
def test_any_bytes_are_taken_in_or_refused_by_our_own_error(name: str, data: bytes) -> None:
    TARGETS[name].try_out(data)


@pytest.mark.parametrize("name", TARGETS)
@SETTINGS
@given(seed=st.integers(0, 2**64 - 1))
def test_what_was_valid_and_is_not_quite_any_more_is_taken_in_or_refused(name: str, seed: int) -> None:
    target = TARGETS[name]
    target.try_out(mutated(random.Random(seed), target.seeds(), min(target.limit, INPUT_MAX_BYTES)))


@pytest.mark.parametrize("name", TARGETS)
def test_the_fuzzer_that_is_built_in_finds_nothing_in_a_short_run(name: str) -> None:
    hunt = Hunt(TARGETS[name], seed=1)
    hunt.go_on(lambda tried: tried >= (TRIED_EACH // 10 if name in SLOW else TRIED_EACH))
    assert [finding.error for finding in hunt.findings] == []


@pytest.mark.parametrize(
    "path", sorted(path for path in FOUND.iterdir() if "--" in path.name), ids=lambda path: path.name
)
def test_what_was_found_once_is_not_found_again(path: object) -> None:

    assert isinstance(path, Path)
    TARGETS[path.name.partition("--")[0]].try_out(path.read_bytes())


def test_the_fuzzer_finds_a_foreign_exception_a_hang_and_a_second_spelling() -> None:
    """Against readers with a defect each."""

    def careless(data: bytes) -> int:
        return data[20]

    def tolerant(data: bytes) -> bytes:
        return data.strip()

    for reader, wanted in ((careless, "IndexError"), (tolerant, "AssertionError")):
        hunt = Hunt(Target("x", reader, lambda: [b"a valid input that is long"], bytes), seed=1)
        hunt.go_on(lambda tried: tried >= 500)
        assert any(finding.place.startswith(wanted) for finding in hunt.findings), wanted


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_every_mutation_makes_another_input_sooner_or_later(mutation: Mutation) -> None:
    chance, seed = random.Random(1), b'{"a":"b","c":{"d":17}}.QUFB.x'
    assert any(mutation(chance, seed, [seed, b"other"]) != seed for _ in range(20))
