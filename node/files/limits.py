"""How large files may be, and how much of a disk they may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024
PARTS_MAX: Final = 100_000  # segments, chunks, boxes of one file: a film of an hour has some thousand
COPY_BYTES: Final = MIB  # read and written at one time
UPLOAD_LIFETIME_MS: Final = 3 * 24 * 3_600_000  # a citizen who lost the line on a Friday goes on on Monday
UNNAMED_LIFETIME_MS: Final = 7 * 24 * 3_600_000  # a file that no change names: whoever sent it has a week to say why
UPLOADS_MAX: Final = 64  # begun and not finished, of one client: a form has ten files, and a clerk leaves some behind
SENDING_MAX: Final = 4  # requests with bytes at the same time, of one client; each holds a connection for minutes


@dataclass(frozen=True, slots=True)
class FileLimits:
    """In bytes. `free_min` is what stays free on the disk, whoever uses it: the database lives there as well."""

    file_max: int = 25 * MIB
    store_max: int = 51_200 * MIB
    free_min: int = 1_024 * MIB
