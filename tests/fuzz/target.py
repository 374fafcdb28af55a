"""What a fuzz target is: one reader of foreign bytes, and what must hold whatever the bytes are."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sync_protocol.errors import SimpulError

T = TypeVar("T")
KIB = 1024
MIB = 1024 * 1024


class Broken(AssertionError):
    """A reader took something in and what must hold of it does not: a finding, like a foreign exception."""


@dataclass(frozen=True)
class Target:
    """`read` gives a value or raises one of our own errors; it checks what must hold of the value (`must`).

    Every one of `seeds` is taken in. `write`, where what is read has one spelling, gives back the very bytes. `limit`
    is the longest input that the program hands to this reader; `hostile` are inputs made to cost much; `costs` how many
    times the common bound (100 ms, 64 MiB) it may take, with the reason beside it.
    """

    name: str
    read: Callable[[bytes], Any]
    seeds: Callable[[], Sequence[bytes]]
    write: Callable[[Any], bytes] | None = None
    limit: int = 64 * KIB
    hostile: Callable[[], Iterable[bytes]] = tuple
    costs: float = 1.0

    def try_out(self, data: bytes) -> bool:
        """Whether it was taken in. Any error that comes out is a defect of the reader."""
        try:
            value = self.read(data)
        except SimpulError:
            return False
        if self.write is not None:
            must(self.write(value) == data, "what was taken in is written otherwise")
        return True


def must(holds: object, what: str) -> None:
    """Raises Broken unless it holds."""
    if not holds:
        raise Broken(what)


def text_of(data: bytes) -> str:
    """Any bytes as a text; those that are no UTF-8 become lone surrogates, which JSON can smuggle in as well."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The bytes that `text_of` makes into this text."""
    return text.encode("utf-8", "surrogateescape")


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never has to wait: no loop, so that it costs nothing to try millions."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        coroutine.close()
    raise Broken("it waits for something")
