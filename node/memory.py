"""Memory of a process that works through change sets for long: hold on to what will be wanted again at once.

A set is some megabytes for some milliseconds. Given back to the system after each, every page of it is fetched and
cleared anew for the next (a fifth of the hub's processor time); and collecting cycles looks through objects that are
never in one.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

GC_THRESHOLDS: Final = (50_000, 20, 50)  # some ten objects a change are made and dropped, none of them in cycles
KEPT_FREE_BYTES: Final = 64 * 1024 * 1024  # of each arena: the sets that are verified at one time
BLOCK_MAX_BYTES: Final = 32 * 1024 * 1024  # larger blocks still go straight back; a set has at most 16 MiB

_M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
_M_MMAP_THRESHOLD: Final = -3


def settle_objects() -> None:
    """Once, when everything is loaded: what is there stays, and is not looked through for cycles any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def settle_memory() -> None:
    """The same, and free memory is kept. Where the C library has no `mallopt`, its ways stay as they are."""
    settle_objects()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
        mallopt(_M_MMAP_THRESHOLD, BLOCK_MAX_BYTES)
