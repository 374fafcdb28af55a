"""What a local node asks of its hub and of its keys. The docstrings are the contracts (see ports.py)."""

from __future__ import annotations

from typing import Protocol

from node.deadlines.overdue import OverduePage
from node.tracked import Tracked
from sync_protocol.ed25519 import Signer
from sync_protocol.evidence import EvidenceFile
from sync_protocol.set_pages import PagedSet
from sync_protocol.wire import (
    EnrolmentRequest,
    Entered,
    HeadAnswer,
    HubDescription,
    InboxPage,
    RecoveryAnswer,
    RecoveryRequest,
    StatementLine,
)


class HubLink(Protocol):
    """The hub, as one agency reaches it. Every call may be repeated for ever.

    Raises Unavailable for everything that may pass (Unreachable: no answer; Recovering: the hub lost something),
    Refused for a problem of §7.3, nothing else. It has tried again over blips of seconds before it raises. What it
    returns was parsed and bounded, never verified.
    """

    async def describe(self) -> HubDescription:
        """`GET /v1/hub`."""
        ...

    async def head(self) -> HeadAnswer:
        """The agency's head."""
        ...

    async def push(self, seq: int, body: bytes, from_size: int) -> Entered:
        """PUT of a set, its two zstd frames as they are; `from_size` is the checkpoint that we know."""
        ...

    async def hand_over(self, seq: int, body: bytes) -> None:
        """PUT of a set that a recovering hub asked for; what it says to it is neither a receipt nor stored."""
        ...

    async def fetch_sets(self, from_seq: int) -> list[PagedSet]:
        """Sets of our own from a seq on, in order, as many as the hub puts into one answer; none beyond the head.

        Each with its receipt; nothing is decompressed.
        """
        ...

    async def consistency(self, from_size: int, to_size: int) -> list[bytes]:
        """Hashes that prove that the log only grew."""
        ...

    async def statements(self) -> list[StatementLine]:
        """What an agency needs to hold a roster of its own."""
        ...

    async def submit_statement(self, statement: str) -> Entered:
        """A rotation or revocation."""
        ...

    async def enrol(self, request: EnrolmentRequest) -> Entered:
        """With a one-time token."""
        ...

    async def recover(self, request: RecoveryRequest) -> RecoveryAnswer:
        """Hands a restored hub what it lost."""
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...


class InboxLink(Protocol):
    """What the hub tells an agency, and how it is asked of others' complaints. Contracts as those of HubLink."""

    async def inbox(self, after: str, wait_s: float) -> InboxPage:
        """What this agency is told after a place; the answer may be put off by so many seconds while there is none."""
        ...

    async def evidence(self, complaint: str) -> EvidenceFile:
        """All that happened to a complaint, as far as this agency may know it."""
        ...

    async def agencies(self) -> set[str]:
        """All that were ever enrolled."""
        ...


class DeskLink(Protocol):
    """What the desk asks of the hub about everybody's complaints. Contracts as those of HubLink.

    Whoever is not the desk by the rules in force is Refused(wrong-agency) the list of what is overdue.
    """

    async def overdue(self, after: str, limit: int) -> OverduePage:
        """A page of what is overdue, of all agencies; `after` is the `next` of the page before, "" for the first."""
        ...

    async def silent(self) -> set[str]:
        """Agencies that have been silent for so long that the desk may recall what they own (protocol §9.4)."""
        ...

    async def evidence(self, complaint: str) -> EvidenceFile:
        """As InboxLink.evidence."""
        ...


class TrackingLink(Protocol):
    """How the hub is asked for a number that is not known here. Contract as that of HubLink."""

    async def track(self, tracking: str) -> Tracked:
        """The public part of the complaint of that number, in its one spelling. Raises Refused(not-found)."""
        ...


class SigningKeys(Protocol):
    """The agency's signing keys (keys/key_directory.py), read each time: a rotation in another process is seen."""

    def current(self) -> Signer:
        """The key in use. Raises Refused or Corrupt with the operator's next step."""
        ...

    def pending(self) -> Signer | None:
        """The key that is to follow, if a rotation was asked for."""
        ...

    def promote(self, public_key: bytes) -> Signer:
        """Puts the pending key into use, after the hub's receipt. Repeatable."""
        ...

    def discard_pending(self) -> None:
        """Forgets the key that was to follow. Repeatable."""
        ...

    def kids(self) -> set[str]:
        """Every key that this node ever held."""
        ...
