"""One root for each size: what a hub shows while it is attacked, held against the log that it has in the end."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from node.store.hub_store import SqlHubStore
from node.store.postgres_hub import PostgresHubStore
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.merkle import CompactRange, leaf_hash
from sync_protocol.note import VerifierKey
from tests.edge.whole_way import ORIGIN, HubDirectory

LOOK_EVERY_S: Final = 0.01  # a kill changes the log within that; more often would be a load of its own
ANSWER_S: Final = 5.0
ENTRIES_AT_ONCE: Final = 10_000


@dataclass
class Watcher:
    """Asks for the checkpoint again and again, each time over a new connection, so that it hears all processes."""

    hub: HubDirectory
    roots: dict[int, bytes] = field(default_factory=dict)
    seen: int = 0
    wrong: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until it is over."""
        vkey = VerifierKey.parse(self.hub.vkey)
        while not self.is_over.wait(LOOK_EVERY_S):
            with suppress(OSError, urllib.error.URLError, ValueError):
                with urllib.request.urlopen(self.hub.url + "/checkpoint", timeout=ANSWER_S) as answer:
                    note = answer.read()
                checkpoint = open_checkpoint(note, [vkey], ORIGIN).checkpoint
                self.seen += 1
                if self.roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
                    self.wrong.append(f"two roots for size {checkpoint.size}")

    def check(self, roots: list[bytes]) -> None:
        """What was ever shown is what the log leads to. `roots`: by size."""
        assert self.wrong == []
        for size, root in self.roots.items():
            assert roots[size] == root, f"what was shown for size {size} is not the log's root"


@contextmanager
def watching(hub: HubDirectory) -> Iterator[Watcher]:
    """While the block runs."""
    watcher = Watcher(hub)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.is_over.set()
        thread.join()


def roots_of(hub: HubDirectory) -> list[bytes]:
    """The root of every size of the log, from its leaves alone, as its database has them."""
    return asyncio.run(_roots_of(hub))


async def _roots_of(hub: HubDirectory) -> list[bytes]:
    store: SqlHubStore | PostgresHubStore
    if hub.database_url is None:
        store = await SqlHubStore.open(hub.directory / "hub.db")
    else:
        store = await PostgresHubStore.open(hub.database_url)
    try:
        newest = await store.newest_checkpoint()
        size = newest.size if newest else 0
        tree = CompactRange()
        roots = [tree.root()]
        for start in range(0, size, ENTRIES_AT_ONCE):
            for entry in await store.entries(start, min(size, start + ENTRIES_AT_ONCE)):
                tree.append(leaf_hash(entry))
                roots.append(tree.root())
        return roots
    finally:
        await store.close()
