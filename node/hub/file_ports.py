"""What the hub's files ask of its log store, beside what every hub asks (ports.py). The docstrings are contracts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from node.store.hub_records import NamedFile


class FileRegister(Protocol):
    """Which files are here, and which lines name them. Writes are atomic and durable when they return."""

    async def add_file(self, lines: Sequence[NamedFile]) -> bool:
        """A file is here, and these lines name it; again changes nothing. In one transaction.

        Lines that are erased are left out: False, with nothing kept, if all are.
        """
        ...

    async def lines_naming(self, file: bytes) -> list[NamedFile]:
        """Every line that names this file, is not erased, and whose agency brought it; in order of the log."""
        ...

    async def file_bytes_of(self, agency: str) -> int:
        """How much the files take that this agency brought."""
        ...

    async def files_to_erase(self, limit: int) -> list[NamedFile]:
        """Lines that were erased since they were added."""
        ...

    async def forget_file(self, named: NamedFile) -> None:
        """Takes one out."""
        ...

    async def named_among(self, files: Collection[bytes]) -> set[bytes]:
        """Those of these files that a line names, erased or not."""
        ...
