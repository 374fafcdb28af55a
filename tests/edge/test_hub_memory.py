"""Small requests that want much memory: the hub's peak is bounded by how much it reads at a time, not by who asks."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from sync_protocol.change_set import ChangeSet, hide_contents
from sync_protocol.compression import compress_part, zstd
from sync_protocol.limits import SET_MAX_BYTES
from tests.edge.hub_lab import Agency, Answer, Lab

MIB = 1024 * 1024
CALLERS = 100
STRANGERS_PEAK_MIB = 24  # a hundred requests, answers and peeks; one of the bombs alone would make 16
SIGNED_PEAK_MIB = 150  # two of the largest sets being read, with their lines; thirty would make 500 at least


class Peak:
    """The most memory, in MiB, that Python held while it was watched."""

    mib = 0.0


@contextmanager
def watched() -> Iterator[Peak]:
    peak = Peak()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield peak
        peak.mib = (tracemalloc.get_traced_memory()[1] - before) / MIB
    finally:
        tracemalloc.stop()


@pytest.fixture
async def agency(lab: Lab) -> Agency:
    return await lab.enrol("33.75")


def without_size(data: bytes) -> bytes:
    """A frame that does not say how much it holds."""
    compressor = zstd.ZstdCompressor()
    return compressor.compress(data) + compressor.flush()


def bombs(change_set: ChangeSet) -> dict[str, bytes]:
    """A kilobyte or two each, and 16 MiB once it is opened; the manifest line is in order."""
    line = change_set.head[: change_set.head.index(b"\n") + 1]
    blown = line + b"A" * (SET_MAX_BYTES - len(line))
    return {
        "head": compress_part(blown),
        "head without its size": without_size(blown),
        "contents": compress_part(change_set.head) + without_size(b"A" * (SET_MAX_BYTES - len(change_set.head))),
        "gzip": gzip.compress(blown),
    }


async def at_once(calls: Sequence[Awaitable[Answer]]) -> set[tuple[int, str]]:
    """How those were answered that were not turned away for being too many of one agency."""
    answers = await asyncio.gather(*calls)
    return {(answer.status, "" if answer.status < 400 else answer.kind) for answer in answers} - {(503, "busy")}


@pytest.mark.parametrize("kind", ["head", "head without its size", "contents", "gzip"])
async def test_a_hundred_bombs_under_an_unknown_key_are_refused_unopened(lab: Lab, agency: Agency, kind: str) -> None:
    bomb = bombs(agency.cut(1, signer=lab.new_key()))[kind]
    assert len(bomb) < 32 * 1024
    with watched() as peak:
        encoding = "gzip" if kind == "gzip" else "zstd"
        got = await at_once([agency.send(bomb, 1, encoding=encoding) for _ in range(CALLERS)])
    assert got == {(403, "unknown-key")}
    assert peak.mib < STRANGERS_PEAK_MIB


async def test_a_bomb_under_a_forged_signature_is_refused_unopened(lab: Lab, agency: Agency) -> None:
    signed = agency.cut(1)
    jws = signed.manifest.jws.text
    forged = jws[: jws.rindex(".") + 1] + "A" * 86
    line = b'{"manifest":"' + forged.encode() + b'"}\n'
    bomb = compress_part(line + b"A" * (SET_MAX_BYTES - len(line)))
    with watched() as peak:
        assert await at_once([agency.send(bomb, 1) for _ in range(CALLERS)]) == {(403, "bad-signature")}
    assert peak.mib < STRANGERS_PEAK_MIB


async def test_a_public_manifest_with_a_bomb_behind_it_is_a_repeat_and_stays_unopened(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(1)
    assert (await agency.push(change_set)).status == 201
    bomb = bombs(change_set)["head without its size"]
    with watched() as peak:
        assert await at_once([agency.send(bomb, 1) for _ in range(CALLERS)]) == {(200, "")}
    assert peak.mib < STRANGERS_PEAK_MIB


async def test_bombs_that_an_agency_signed_are_opened_two_at_a_time(lab: Lab, agency: Agency) -> None:
    bomb = bombs(agency.cut(1))["contents"]
    with watched() as peak:
        got = await at_once([agency.send(bomb, 1) for _ in range(30)])
    assert got == {(422, "malformed")}
    assert peak.mib < SIGNED_PEAK_MIB


async def test_bombs_that_claim_to_complete_a_set_are_opened_two_at_a_time(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(2)
    stripped = ChangeSet(change_set.manifest, change_set.head, hide_contents(change_set))
    assert (await agency.push(stripped)).status == 201
    bomb = bombs(change_set)["contents"]
    with watched() as peak:
        got = await at_once([agency.send(bomb, 1) for _ in range(30)])
    assert got == {(422, "malformed")}
    assert peak.mib < SIGNED_PEAK_MIB
