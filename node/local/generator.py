"""Made-up complaints with real proportions, for the demonstration and for tests (config/generator.toml).

Deterministic: the same randomness gives the same complaints. No citizen's word is in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from node.local.importers.rows import unusable
from node.ports import Randomness
from sync_protocol.values import format_timestamp

T = TypeVar("T")

UNCLASSIFIED: Final = "unclassified"
_VERIFIED_AS: Final = "complaint_ordinary"  # what an unclassified complaint is found to be
_NO_UNIT: Final = "sekretariat"
_CLOSING_REASONS: Final = {"system": "no_reply", "reporter": "satisfied", "officer": "resolved"}
_REPLIES: Final = 0.08  # of the answered ones, before they are answered again
_RATINGS: Final = 0.5  # of those that the reporter closes
_SKIPS_STARTED: Final = 0.3


class Ending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a complaint's life ends (or where it stands): its state, by whom and why."""

    state: str
    weight: int
    by: str = "officer"
    reason: str = "resolved"


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A topic, the unit that answers for it, and what people write about."""

    code: str
    weight: int
    subjects: list[str]
    unit: str | None = None


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pieces that texts are made of, in Indonesian."""

    openings: list[str]
    observations: list[str]
    closings: list[str]
    streets: list[str]
    villages: list[str]
    answers: list[str]
    questions: list[str]
    holds: list[str]


class Shapes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """How often what occurs: counts that serve as weights."""

    class_: dict[str, int]
    visibility: dict[str, int]
    channel: dict[str, int]
    ending: list[Ending]
    category: list[Category]
    words: Words


@dataclass(frozen=True, slots=True)
class Step:
    """One later change of a made-up complaint: what `simpul` would record for an officer, a reporter or itself."""

    type: str
    role: str
    data: Mapping[str, object] = field(default_factory=dict)
    content: Mapping[str, object] = field(default_factory=dict)
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class MadeUpComplaint:
    """`data` is that of a `received` change without `tracking`; `steps` are the rest of its life, in order."""

    data: Mapping[str, object]
    content: Mapping[str, object]
    steps: Sequence[Step]


def parse_shapes(text: bytes) -> Shapes:
    """Raises Refused(configuration) for a file that is not of the form of config/generator.toml."""
    try:
        shapes = msgspec.toml.decode(text, type=Shapes)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise unusable(f"generator.toml: {problem}", "Take the file that came with the program.") from None
    weights = [*shapes.class_.values(), *(ending.weight for ending in shapes.ending)]
    if min(weights, default=0) < 0 or not sum(weights) or not shapes.category or not shapes.channel:
        raise unusable("generator.toml: weights are missing or negative", "Take the file that came with the program.")
    return shapes


class Generator:
    """Makes complaints of one agency. `place_name` is the agency's town, for the texts."""

    def __init__(self, shapes: Shapes, randomness: Randomness, *, place_name: str, area: str | None = None) -> None:
        self._shapes = shapes
        self._random = randomness
        self._place_name = place_name
        self._area = area

    def complaint(self, received_at_ms: int) -> MadeUpComplaint:
        """A complaint that came in at that moment, with the whole life that it will have."""
        shapes = self._shapes
        class_ = self._pick(list(shapes.class_.items()))
        category = self._pick([(category, category.weight) for category in shapes.category])
        visibility = self._pick(list(shapes.visibility.items()))
        data: dict[str, object] = {
            "category": category.code,
            "channel": self._pick(list(shapes.channel.items())),
            "received_at": format_timestamp(received_at_ms),
            "visibility": visibility,
        }
        if class_ != UNCLASSIFIED:
            data["class"] = class_
        if self._area is not None:
            data["area"] = self._area
        ending = self._pick([(ending, ending.weight) for ending in shapes.ending])
        steps = self._life(ending, class_ if class_ != UNCLASSIFIED else _VERIFIED_AS, category.unit or _NO_UNIT)
        return MadeUpComplaint(data, self._content(category, anonymous="anonymous" in visibility), steps)

    def _content(self, category: Category, *, anonymous: bool) -> dict[str, object]:
        words = self._shapes.words
        subject = self._one(category.subjects)
        seen = ", ".join(dict.fromkeys(self._one(words.observations) for _ in range(1 + self._below(3))))
        street, village = self._one(words.streets), self._one(words.villages)
        text = f"{self._one(words.openings)} terkait {subject} di Jalan {street}: {seen}. {self._one(words.closings)}"
        content: dict[str, object] = {
            "title": f"{subject[:1].upper()}{subject[1:]} di {village}",
            "text": text,
            "place": f"Jalan {street} No. {1 + self._below(120)}, {village}, {self._place_name}",
        }
        if not anonymous:
            content["reporter"] = f"Pelapor {1 + self._below(9999):04d}"
        return content

    def _life(self, ending: Ending, class_: str, unit: str) -> list[Step]:
        words = self._shapes.words
        if ending.state == "awaiting_information":
            return [Step("information_requested", "officer", content={"text": self._one(words.questions)})]
        verified = Step("verified", "admin", {"class": class_})
        if ending.state == "archived":
            last = Step("archived", _role_of(ending.by), {"by": ending.by, "reason": ending.reason})
            return [verified, last] if self._chance(0.5) else [last]
        steps = [verified, Step("assigned", "admin", {"unit": unit})]
        if ending.state == "on_hold":
            held = Step("held", "officer", {"reason": ending.reason}, {"note": self._one(words.holds)}, unit)
            return [*steps, held]
        started = Step("started", "officer", unit=unit)
        if ending.state == "in_progress":
            return [*steps, started]
        if ending.state == "closed":
            steps += [] if self._chance(_SKIPS_STARTED) else [started]
            return [*steps, *self._answered_and_closed(ending, unit)]
        return steps

    def _answered_and_closed(self, ending: Ending, unit: str) -> list[Step]:
        answered = Step("answered", "officer", content={"text": self._one(self._shapes.words.answers)}, unit=unit)
        steps = [answered]
        if self._chance(_REPLIES):
            steps += [Step("replied", "reporter", content={"text": "Mohon penjelasan lebih lanjut."}), answered]
        steps.append(Step("closed", _role_of(ending.by), {"by": ending.by, "reason": _CLOSING_REASONS[ending.by]}))
        if ending.by == "reporter" and self._chance(_RATINGS):
            steps.append(Step("rated", "reporter", {"rating": 1 + self._below(5)}))
        return steps

    def _pick(self, weighted: Sequence[tuple[T, int]]) -> T:
        left = self._random.fraction() * sum(weight for _, weight in weighted)
        for value, weight in weighted:
            left -= weight
            if left < 0:
                return value
        return weighted[-1][0]

    def _one(self, values: Sequence[T]) -> T:
        return values[self._below(len(values))]

    def _below(self, limit: int) -> int:
        return min(limit - 1, int(self._random.fraction() * limit))

    def _chance(self, probability: float) -> bool:
        return self._random.fraction() < probability


def _role_of(by: str) -> str:
    return by if by in {"reporter", "system"} else "officer"
