"""What any input of a permitted size may cost at its reader: 100 ms of processor time and 64 MiB (ADR 0016).

Time is told in units of a fixed piece of work done on the same machine a moment before, so that a slow or a busy
machine fails nothing. Memory is what Python was asked for above the input itself.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

import pytest

from sync_protocol.errors import SimpulError
from tests.fuzz import targets_files
from tests.fuzz.target import MIB, Target
from tests.fuzz.targets import TARGETS

UNIT_S = 0.058  # what one unit took on the machine on which the bound was set, two busy cores of a small server
SLACK = 1.5  # for a machine on which everything else is slow at the moment as well
UNIT_TURNS = 2_000_000
BOUND_S = 0.1
MEMORY_MAX_BYTES = 64 * MIB
GENERIC_MAX_BYTES = MIB  # cost is linear, and what is not is seen here; `hostile` inputs are of full length
#: Files that somebody chose himself: read within a bound of memory, but as long as they take (docs/threat-model.md).
OWN_FILES = ({target.name for target in targets_files.targets()} | {"evidence", "open311-table"}) - {"key-file"}
NAMES = [name for name in TARGETS if name not in OWN_FILES]
PIECES = (
    b"\x00", b"\xff", b" ", b"\n", b"\r\n", b'"', b"\\", b'\\"', b"{", b"[", b"[],", b"{},", b'{"a":', b'"a":1,', b"9",
    b"-", b"a", b"a.", b"a-", b"A", b"=", b"+", b".", b"..", "— ".encode(), "é".encode(), "\U0001f600".encode(),
)  # fmt: skip
FRAMES = ((b"", b""), (b'{"a":[', b"0]}"), (b'{"a":"', b'"}'), (b"{", b'"z":1}'))


@cache
def unit_s() -> float:
    """Processor time of the fixed piece of work, the best of five."""

    def once() -> float:
        begun_s, total = time.process_time(), 0
        for number in range(UNIT_TURNS):
            total += number & 7
        assert total > 0
        return time.process_time() - begun_s

    return min(once() for _ in range(5))


def costly(target: Target) -> Iterator[bytes]:
    """Inputs as long as this reader is ever given."""
    limit = min(target.limit, GENERIC_MAX_BYTES)
    for piece in PIECES:
        for before, after in FRAMES:
            yield before + piece * ((limit - len(before) - len(after)) // len(piece)) + after
    yield b'{"a":"' + b"\\ud83d\\ude00" * ((limit - 8) // 12) + b'"}'
    yield b"{" + b",".join(b'"%d":%d' % (n, n) for n in range(limit // 16))[: limit - 2] + b"}"
    for seed in target.seeds():
        middle = seed[len(seed) // 3 : 2 * len(seed) // 3] or b"x"
        yield seed + b"x" * (limit - len(seed))
        yield seed[: len(seed) // 2] + b"\n" * (limit - len(seed)) + seed[len(seed) // 2 :]
        start, end = seed[: len(seed) // 3], seed[2 * len(seed) // 3 :]
        yield start + middle * ((limit - len(start) - len(end)) // len(middle)) + end
        yield (seed * (limit // max(1, len(seed))))[:limit]


def spent_s(target: Target, data: bytes) -> float:
    begun_s = time.process_time()
    with suppress(SimpulError):
        target.read(data)
    return time.process_time() - begun_s


def held_bytes(target: Target, data: bytes) -> tuple[float, int]:
    """Processor time, which being watched makes longer and never shorter, and the most that was held at a time."""
    tracemalloc.start()
    try:
        took_s = spent_s(target, data)
        return took_s, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_to_cost_much_costs_no_more_than_the_bound(name: str) -> None:
    target = TARGETS[name]
    target.seeds()
    bound_s = target.costs * BOUND_S * SLACK * unit_s() / UNIT_S
    hostile = list(target.hostile())
    for data in (*costly(target), *hostile):
        if len(data) >= MIB or data in hostile:
            took_s, held = held_bytes(target, data)
            assert held <= target.costs * MEMORY_MAX_BYTES, f"{held // MIB} MiB for {len(data)} bytes: {data[:60]!r}"
        else:
            took_s = spent_s(target, data)
        again = 3
        while took_s > bound_s and again:  # because it was watched, or for the cache that others emptied
            took_s, again = spent_s(target, data), again - 1
        assert took_s <= bound_s, f"{took_s:.3f} s for {len(data)} bytes that begin {data[:60]!r}"


def test_a_reader_that_costs_too_much_is_found() -> None:
    """The measure itself, against a reader that is slow and one that hoards."""
    slow = Target("slow", lambda data: sum(1 for a in data for b in data if a == b), lambda: [b"x"], limit=4_000)
    assert any(spent_s(slow, data) > unit_s() for data in costly(slow))
    hoard = Target("hoard", lambda data: [bytes(data) + b"x" for _ in range(80)], lambda: [b"x"])
    assert held_bytes(hoard, bytes(MIB))[1] > MEMORY_MAX_BYTES
