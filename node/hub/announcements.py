"""Word that the log grew, where one process is all there is (node/hub/ports.py Announcements).

A command beside `serve` is not heard of here; the clockwork looks once a second.
"""

from __future__ import annotations

from collections.abc import Callable


class LocalAnnouncements:
    """See Announcements. Who listens is called at once, by whoever publishes."""

    def __init__(self) -> None:
        self._heard: list[Callable[[int], None]] = []

    def publish(self, size: int) -> None:
        for heard in self._heard:
            heard(size)

    def listen(self, heard: Callable[[int], None]) -> None:
        self._heard.append(heard)

    async def start(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        self._heard.clear()
