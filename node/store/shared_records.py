"""What a local node's store holds of complaints that several agencies write to: plain frozen records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ForeignSet:
    """What another agency's set shows of one complaint: an excerpt (protocol §3.2) with its receipt, both verified."""

    index: int
    agency: str
    seq: int
    lines: bytes = field(repr=False)
    receipt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OwnLine:
    """A change of ours to a complaint: its place in the log (None: no receipt yet), and whether the log refused it."""

    line: bytes = field(repr=False)
    place: int | None
    is_refused: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A change of ours that the log refused (protocol §9.3), at its place; `key` None where its line names nothing."""

    place: int
    key: bytes | None
    change_id: str
    verdict: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class SharedComplaint:
    """All that there is here of a complaint that several agencies write to."""

    own: Sequence[OwnLine]
    foreign: Sequence[ForeignSet]
