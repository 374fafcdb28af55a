"""A file of JSON lines that only grows: what is added is on the disk, and a line that a power cut tore stands alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def append_lines(path: Path, lines: Sequence[bytes]) -> None:
    """Adds the lines (without LF), durably; makes the file. Raises OSError; then some of them may be there."""
    is_new = not path.exists()
    # Begun on a line of its own: the one before may have been torn.
    lead = b"" if is_new or _ends_a_line(path) else b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(lead + b"".join(line + b"\n" for line in lines))
        file.flush()
        os.fsync(descriptor)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if not end:
            return True
        file.seek(end - 1)
        return file.read(1) == b"\n"
