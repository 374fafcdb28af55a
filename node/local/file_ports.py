"""What a node's files ask of its store, and of its link to the hub. The docstrings are the contracts (see ports.py)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from node.local.ports import LocalStore
from node.store.local_records import FileToSend
from sync_protocol.attachment import ContentRange
from sync_protocol.backoff import Schedule


class FileRegister(Protocol):
    """Which files the changes of this node name. Writes are atomic and durable when they return."""

    async def files_to_send(self, now_ms: int, limit: int) -> list[FileToSend]:
        """Files of changes that the hub has a receipt for, whose time has come; who has waited longest first."""
        ...

    async def record_file_attempt(self, leaf: bytes, schedule: Schedule) -> None:
        """Before an attempt is made."""
        ...

    async def file_sent(self, leaf: bytes, at_ms: int, ask_again_at_ms: int) -> None:
        """The hub has it."""
        ...

    async def file_not_sent(self, leaf: bytes, schedule: Schedule, trouble: str) -> None:
        """After an attempt that failed, in words for the operator."""
        ...

    async def files_waiting(self) -> tuple[int, str | None]:
        """How many never reached the hub, and what is wrong with one of them."""
        ...

    async def files_to_erase(self, limit: int) -> list[bytes]:
        """Files whose lines were erased; another line may name one all the same."""
        ...

    async def forget_erased(self, file: bytes) -> None:
        """It is gone, or named by another line."""
        ...

    async def named_among(self, files: Collection[bytes]) -> set[bytes]:
        """Those of these files that a content line names."""
        ...


class NodeStore(LocalStore, FileRegister, Protocol):
    """All that a node's files ask of its store."""


class FileLink(Protocol):
    """The hub's files, as one agency reaches them. Raises as HubLink does."""

    async def send_file_piece(self, file: bytes, seq: int, place: ContentRange, data: bytes) -> int:
        """A piece of a file that our set `seq` names, or the question how far it came: the offset to go on from.

        The offset is the file's length when all of it is there and was verified.
        """
        ...

    async def fetch_file(self, file: bytes, start: int, end: int) -> bytes:
        """Bytes [start, end) of a file of a complaint that we own, are offered, or brought it to; nothing verified."""
        ...
