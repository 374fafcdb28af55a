"""Made-up complaints: the same for the same seed, legal by the protocol, in the counted proportions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from node.local.generator import Generator, MadeUpComplaint, parse_shapes
from sync_protocol.errors import Refused
from sync_protocol.line import format_change, format_content
from sync_protocol.values import format_tracking

SHAPES = (Path(__file__).parents[2] / "config" / "generator.toml").read_bytes()
UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


class SeededRandomness:
    """The Randomness port, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()


def made(seed: int, count: int) -> list[MadeUpComplaint]:
    generator = Generator(parse_shapes(SHAPES), SeededRandomness(seed), place_name="Kota Kediri", area="35.71")
    return [generator.complaint(1_767_400_000_000 + number) for number in range(count)]


def test_the_same_seed_gives_the_same_complaints() -> None:
    assert made(7, 50) == made(7, 50)
    assert made(7, 50) != made(8, 50)


def test_every_step_can_be_recorded() -> None:
    for complaint in made(1, 300):
        format_content(complaint.content, bytes(16))
        received = {**complaint.data, "tracking": format_tracking("KDR", 1)}
        steps = [("received", "reporter", None, received), *((s.type, s.role, s.unit, s.data) for s in complaint.steps)]
        for rev, (type_, role, unit, data) in enumerate(steps, 1):
            format_change(
                id=UUID,
                complaint=f"35.71:{UUID}",
                rev=rev,
                type=type_,
                at="2026-01-03T00:00:00.000Z",
                role=role,
                unit=unit,
                data=data,
                content=False,
            )


def test_proportions_are_those_that_were_counted() -> None:
    complaints = made(2, 4000)
    visibility = Counter(complaint.data["visibility"] for complaint in complaints)
    class_ = Counter(complaint.data.get("class") for complaint in complaints)
    assert visibility["anonymous"] / 4000 == pytest.approx(89 / 240, abs=0.03)
    assert visibility["public"] / 4000 == pytest.approx(61 / 240, abs=0.03)
    assert class_["complaint_oversight"] / 4000 == pytest.approx(159 / 240, abs=0.03)
    assert class_[None] > 0


def test_an_anonymous_reporter_is_not_named() -> None:
    for complaint in made(3, 200):
        assert ("reporter" in complaint.content) == ("anonymous" not in str(complaint.data["visibility"]))


@pytest.mark.parametrize("text", [b"", b"[class]\nx = 'y'\n", b"\xff", SHAPES.replace(b"159", b"-159", 1)])
def test_shapes_that_make_no_sense_are_refused(text: bytes) -> None:
    with pytest.raises(Refused, match=r"generator\.toml"):
        parse_shapes(text)
