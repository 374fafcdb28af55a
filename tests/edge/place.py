"""A hub that serves and a node whose complaints are there: what tests of commands begin with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.whole_way import HubDirectory, NodeDirectory, serving_hub


@dataclass
class Place:
    """Nobody serves the node."""

    folder: Path
    hub: HubDirectory
    node: NodeDirectory


@contextmanager
def settled_place(folder: Path) -> Iterator[Place]:
    """In `folder`: five complaints, all at the hub."""
    with serving_hub(folder) as hub:
        node = NodeDirectory(folder / "node")
        node.enrol(hub)
        node.import_(complaints(folder, range(1, 6)))
        node.push()
        yield Place(folder, hub, node)


def complaints(folder: Path, numbers: range) -> Path:
    """A file to import, one complaint for each number."""
    return write_csv(folder / f"{numbers.start}.csv", [sp4n_row(number) for number in numbers])
