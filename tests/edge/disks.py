"""Small disks that fill up or turn read-only under a running program: a tmpfs, and ext4 in a file.

Mounting takes root and a kernel that allows it. Where it is not allowed, what needs it is skipped and says why: here
alone, and nothing else in this repository.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

MIB: Final = 1024 * 1024
PAGE_BYTES: Final = 4_096  # what a tmpfs gives out


@dataclass
class SmallDisk:
    """Mounted at `path`. Filled by a file that can be taken away again."""

    path: Path

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Not one page is left."""
        with self.ballast.open("ab", buffering=0) as file:
            for piece in (MIB, PAGE_BYTES):
                try:
                    while file.write(bytes(piece)) == piece:
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def make_room(self) -> None:
        """The ballast is gone."""
        self.ballast.unlink()


@dataclass
class FailingDisk(SmallDisk):
    """ext4 in the file `image`."""

    image: Path

    def turn_read_only(self) -> None:
        """As the kernel does it after an error of the disk: also for what is open already, until it is mounted anew."""
        _run("mount", "-o", "remount,abort", str(self.path))

    def mount_anew(self) -> None:
        """After the repair. Nobody may use it."""
        _run("umount", str(self.path))
        _run("mount", "-o", "loop", str(self.image), str(self.path))


@contextmanager
def small_disk(path: Path, *, mib: int) -> Iterator[SmallDisk]:
    """A tmpfs of that size at `path`; what is on it goes with it."""
    path.mkdir(parents=True, exist_ok=True)
    _mount_or_skip("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))


@contextmanager
def failing_disk(path: Path, *, mib: int) -> Iterator[FailingDisk]:
    """An ext4 of that size at `path`."""
    path.mkdir(parents=True, exist_ok=True)
    image = path.with_name(path.name + ".image")
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    try:
        _run("mkfs.ext4", "-q", "-F", str(image))
    except FileNotFoundError:
        pytest.skip("mkfs.ext4 is not installed")
    _mount_or_skip("-o", "loop", str(image), str(path))
    try:
        yield FailingDisk(path, image)
    finally:
        _run("umount", "--lazy", str(path))
        image.unlink()


def _mount_or_skip(*words: str) -> None:
    try:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("mount is not installed")
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount a disk here: {done.stderr.strip()}")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
