"""The fuzzer that is built in: mutations of valid inputs, kept for further mutation when a reader says something new.

What a reader says (taken in, or the words of its refusal) stands in for coverage: an input that is refused in words not
heard before has come to a place where none was before.
"""

from __future__ import annotations

import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from sync_protocol.errors import Refused, SimpulError
from tests.fuzz.mutations import mutated
from tests.fuzz.target import Target

FOUND: Final = Path(__file__).parent / "found"
POOL_MAX: Final = 400
WORDS_MAX: Final = 2_000
HANG_S: Final = 20.0
INPUT_MAX_BYTES: Final = 64 * 1024  # of a mutated one; what is long on purpose is in test_bounds.py


class Hang(BaseException):
    """Not an Exception: no reader may take it for one of its own."""


@dataclass
class Finding:
    """An input that a reader did not end as it should, and where."""

    target: str
    data: bytes
    error: str
    place: str

    def save(self, folder: Path = FOUND) -> Path:
        """As a regression vector: test_found.py reads it back for ever."""
        path = folder / f"{self.target}--{sha256(self.data).hexdigest()[:12]}"
        path.write_bytes(self.data)
        return path


@dataclass
class Hunt:
    """One target under fire. `tried` counts inputs, `taken` those that were taken in, `slowest_s` processor time."""

    target: Target
    seed: int
    tried: int = 0
    taken: int = 0
    slowest_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    _pool: list[bytes] = field(default_factory=list)
    _heard: set[str] = field(default_factory=set)
    _places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.target.name} {self.seed}")
        self._pool = list(self.target.seeds())
        self._seeds = len(self._pool)

    def go_on(self, is_over: Callable[[int], bool]) -> None:
        """Until it is over; that is asked with the number of inputs so far."""
        limit = min(self.target.limit, INPUT_MAX_BYTES)
        with _alarm():
            while not is_over(self.tried):
                self._try(mutated(self._chance, self._pool, limit))

    def _try(self, data: bytes) -> None:
        self.tried += 1
        begun_s = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, HANG_S)
        try:
            words = self._words(data)
        except (Exception, Hang) as error:  # noqa: BLE001 - whatever it is, it is what we hunt for
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._note(data, error)
            return
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.slowest_s = max(self.slowest_s, time.process_time() - begun_s)
        if words not in self._heard and len(self._heard) < WORDS_MAX:
            self._heard.add(words)
            self._keep(data)

    def _words(self, data: bytes) -> str:
        """What the reader says. Raises what it should not have raised."""
        target = self.target
        try:
            value = target.read(data)
        except Refused as refused:
            return f"{refused.kind} {refused.where} {refused.detail[:60]}"
        except SimpulError as error:
            return f"{type(error).__name__} {str(error)[:60]}"
        if target.write is not None:
            assert target.write(value) == data, "what was taken in is written otherwise"
        self.taken += 1
        return "taken in"

    def _keep(self, data: bytes) -> None:
        if len(self._pool) < POOL_MAX:
            self._pool.append(data)
        else:
            self._pool[self._chance.randrange(self._seeds, POOL_MAX)] = data

    def _note(self, data: bytes, error: BaseException) -> None:
        """Each place once."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{type(error).__name__} at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}"
        if place not in self._places:
            self._places.add(place)
            words = "".join(traceback.format_exception(error))
            self.findings.append(Finding(self.target.name, data, words, place))


@contextmanager
def _alarm() -> Iterator[None]:
    """An input that takes longer than HANG_S is ended."""

    def ring(_number: int, _frame: object) -> None:
        raise Hang(f"more than {HANG_S:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
