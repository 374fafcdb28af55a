"""The newest set of every agency, as one process knows it (protocol §8).

What another process appended is kept as the bytes it is, and parsed when somebody asks for that agency: most of what
one process takes in, another one was asked for.
"""

from __future__ import annotations

from node.store.hub_records import StoredHead
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.intake import Head
from sync_protocol.manifest import parse_manifest
from sync_protocol.values import AgencyId, Digest


class Heads:
    """By agency. `stored` holds the rows, which need no parsing; who changes one goes through `move` or `take_in`."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredHead] = {}
        self._entries: dict[str, bytes] = {}
        self._parsed: dict[str, Head] = {}

    def get(self, agency: str) -> Head | None:
        """None before the first set. Raises Corrupt if what the database holds is no manifest."""
        head = self._parsed.get(agency)
        if head is None and agency in self._entries:
            stored = self.stored[agency]
            try:
                signed = parse_manifest(self._entries[agency])
            except Refused as error:
                raise Corrupt(f"the set at log index {stored.index} has no manifest: {error}") from error
            head = Head(AgencyId(agency), stored.epoch, stored.seq, Digest(stored.digest), signed)
            self._parsed[agency] = head
            del self._entries[agency]
        return head

    def __getitem__(self, agency: str) -> Head:
        head = self.get(agency)
        if head is None:
            raise KeyError(agency)
        return head

    def move(self, head: Head, stored: StoredHead) -> None:
        """After an append of our own."""
        self.stored[stored.agency] = stored
        self._parsed[stored.agency] = head
        self._entries.pop(stored.agency, None)

    def take_in(self, stored: StoredHead, entry: bytes) -> None:
        """What the database holds; `entry` is the manifest in the log."""
        self.stored[stored.agency] = stored
        self._entries[stored.agency] = entry
        self._parsed.pop(stored.agency, None)
