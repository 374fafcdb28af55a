"""Every reader of this program that meets foreign bytes, by name. Who adds such a reader adds it here (ADR 0016)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Final

from tests.fuzz import (
    targets_attachments,
    targets_channels,
    targets_files,
    targets_open311,
    targets_sets,
    targets_signed,
    targets_values,
    targets_wire,
)
from tests.fuzz.target import Target

TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        target.name: replace(target, seeds=cache(target.seeds))
        for room in (
            targets_values,
            targets_signed,
            targets_sets,
            targets_wire,
            targets_files,
            targets_open311,
            targets_channels,
            targets_attachments,
        )
        for target in room.targets()
    }
)
