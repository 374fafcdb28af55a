"""Where a directory of hub or node keeps attached files. Loads neither a server nor a link."""

from __future__ import annotations

from typing import Final

from node.files.limits import MIB, FileLimits
from node.files.store import FileStore
from node.settings import HubSettings, NodeSettings

GIB: Final = 1_024 * MIB


def file_store(settings: HubSettings | NodeSettings) -> FileStore:
    """Opens and makes nothing."""
    limits = FileLimits(
        file_max=settings.file_max_mib * MIB,
        store_max=settings.files_max_gib * GIB,
        free_min=settings.files_free_mib * MIB,
    )
    return FileStore(settings.file(settings.files_directory), limits)
