"""The error tree, ordered by who must act.

    SimpulError
    ├── Refused       the input is wrong and will be wrong next time: never retry; `kind` is a problem of protocol §7.3
    ├── Unavailable   the other side cannot answer now: try later
    └── Corrupt       our own stored state contradicts itself: stop, page somebody

No parser or verifier of this project lets another exception out, whatever bytes it is given.
"""

from __future__ import annotations

from collections.abc import Mapping


class SimpulError(Exception):
    """Base of all errors that Simpul raises on purpose."""


class Refused(SimpulError):
    """Input that is not, and will never be, acceptable.

    `kind` is a problem type of protocol §7.3 (`malformed`, `bad-signature`, …); `where` names the part that is wrong;
    `members` are what the client needs to go on.
    """

    def __init__(
        self, kind: str, detail: str, *, where: str | None = None, members: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(f"{kind}: {detail}" + (f" (in {where})" if where else ""))
        self.kind = kind
        self.detail = detail
        self.where = where
        self.members: dict[str, object] = dict(members or {})


class Unavailable(SimpulError):
    """The other side cannot answer now. `retry_after_s` is its own wish, if it had one."""

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class Corrupt(SimpulError):
    """What we stored ourselves does not fit together. `next_step` is what an operator does now."""

    def __init__(self, detail: str, *, next_step: str = "Stop, keep the files as they are, and ask for help.") -> None:
        super().__init__(detail)
        self.detail = detail
        self.next_step = next_step


def malformed(detail: str, where: str | None = None) -> Refused:
    """The most common refusal: bytes that are not of the form the protocol asks for."""
    return Refused("malformed", detail, where=where)


def too_large(what: str, limit: int, unit: str = "bytes") -> Refused:
    """A limit of protocol §11 was passed; the problem names it."""
    return Refused("too-large", f"{what} is over the limit of {limit} {unit}", where=what, members={"limit": limit})
