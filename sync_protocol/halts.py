"""Why a node stopped for good, and what its operator does about it (protocol §10.3, §10.4).

A halt is stored and survives restarts: what cannot heal by waiting must not be tried again and again, and two copies of
one node must not take turns. What waiting can heal never becomes a halt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sync_protocol.errors import Refused
from sync_protocol.manifest import parse_manifest


class HaltReason(StrEnum):
    """The stored code of a halt."""

    COPY_ALIVE = "copy-alive"
    FORKED = "forked"
    FOREIGN_HEAD = "foreign-head"
    KEY_REFUSED = "key-refused"
    NOT_ENROLLED = "not-enrolled"
    SET_REFUSED = "set-refused"
    OUTDATED = "outdated"
    HUB_CONTRADICTS = "hub-contradicts"


NEXT_STEPS: Final[Mapping[HaltReason, str]] = {
    HaltReason.COPY_ALIVE: "Another copy of this node is alive. Switch one of the two off for good, then run "
    "`simpul node recover --take-over` on the one that stays. Unsent changes are kept.",
    HaltReason.FORKED: "The hub holds another change set at this place than this node: another copy of this node was "
    "alive. Switch it off for good, then run `simpul node recover --take-over` here. Unsent changes are kept.",
    HaltReason.FOREIGN_HEAD: "The hub's newest set of this agency was signed with a key that this node does not have: "
    "another installation was enrolled. Find out which one is to stay; if it is this one, ask the national desk for a "
    "fresh token and run `simpul node enrol`.",
    HaltReason.KEY_REFUSED: "The hub does not take this node's key any more. Ask the national desk why; then run "
    "`simpul node enrol` with a fresh token. Unsent changes are kept.",
    HaltReason.NOT_ENROLLED: "The hub does not know this agency. Compare the hub's address and key in simpul.toml with "
    "the invitation; then ask the national desk.",
    HaltReason.SET_REFUSED: "The hub finds a set of this node malformed. Update the program; if it is up to date, send "
    "the line below to the developers. Nothing is lost.",
    HaltReason.OUTDATED: "The hub speaks a newer version. Update this program; nothing is lost.",
    HaltReason.HUB_CONTRADICTS: "The hub contradicts what it has signed before. Keep this directory as it is: it holds "
    "the evidence. Tell the national desk and the auditors; sign nothing until it is cleared up.",
}

_OF_PROBLEMS: Final[Mapping[str, HaltReason]] = {
    "superseded": HaltReason.COPY_ALIVE,
    "forked": HaltReason.FORKED,
    "revoked-key": HaltReason.KEY_REFUSED,
    "unknown-key": HaltReason.KEY_REFUSED,
    "wrong-agency": HaltReason.KEY_REFUSED,
    "bad-signature": HaltReason.KEY_REFUSED,
    "unknown-agency": HaltReason.NOT_ENROLLED,
    "unsupported-version": HaltReason.OUTDATED,
}


@dataclass(frozen=True, slots=True)
class Halt:
    """A stored halt; `detail` is the one line that says what was seen."""

    reason: HaltReason
    detail: str

    @property
    def next_step(self) -> str:
        """What the operator does now, in plain words."""
        return NEXT_STEPS[self.reason]


_OF_REQUESTS: Final = frozenset({"revoked-key", "unknown-key", "wrong-agency", "unknown-agency", "unsupported-version"})


def halt_for_request(refused: Refused) -> Halt | None:
    """What a refusal outside of a push means: a key or an enrolment that is over. None for all that may heal.

    A request's own authentication (`unauthorised`) heals with the clock or the address; so may a `bad-signature` here,
    since it is no set's.
    """
    return Halt(_OF_PROBLEMS[refused.kind], str(refused)) if refused.kind in _OF_REQUESTS else None


def halt_for_push(refused: Refused, epoch: int) -> Halt | None:
    """What it means that a set of this epoch was refused. None where heads are to be compared again: that decides.

    That is `behind`, and `forked` by a set of an earlier epoch, which may have been on its way when ours began.
    `unauthorised` is no word about a set, which needs no request's signature: see `halt_for_request`.
    """
    if refused.kind in ("behind", "unauthorised") or (refused.kind == "forked" and _is_earlier(refused, epoch)):
        return None
    return Halt(_OF_PROBLEMS.get(refused.kind, HaltReason.SET_REFUSED), str(refused))


def _is_earlier(forked: Refused, epoch: int) -> bool:
    """Whether the manifest that the hub says it holds there is of an epoch before ours. Believed by nobody yet."""
    try:
        return parse_manifest(str(forked.members.get("manifest"))).manifest.epoch < epoch
    except Refused:
        return False


def halt_for_answer(refused: Refused) -> Halt:
    """What it means that the hub's own answer does not verify: receipt, checkpoint or consistency proof."""
    return Halt(HaltReason.HUB_CONTRADICTS, str(refused))
