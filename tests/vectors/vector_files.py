"""Vectors as files: one JSON object a case, in a directory a subject (README.md beside this file)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent


@dataclass(frozen=True)
class Vector:
    """One case. `expect` holds `accept` or `refuse`."""

    subject: str
    name: str
    what: str
    spec: str
    operation: str
    given: Mapping[str, Any]
    expect: Mapping[str, Any]

    def text(self) -> str:
        """The file's content."""
        members = {name: getattr(self, name) for name in ("what", "spec", "operation", "given", "expect")}
        return json.dumps(members, indent=2, ensure_ascii=False) + "\n"

    @property
    def path(self) -> Path:
        return VECTORS / self.subject / f"{self.name}.json"


def load(*subjects: str) -> list[Vector]:
    """All cases of these subjects, by name."""
    paths = [path for subject in subjects for path in sorted((VECTORS / subject).glob("*.json"))]
    return [Vector(path.parent.name, path.stem, **json.loads(path.read_text("utf-8"))) for path in paths]


def save(vectors: Iterable[Vector]) -> None:
    """Write these cases; whatever else lies in their directories goes."""
    written = set()
    for vector in vectors:
        vector.path.parent.mkdir(exist_ok=True)
        vector.path.write_text(vector.text(), "utf-8")
        written.add(vector.path)
    for directory in {path.parent for path in written}:
        for stale in set(directory.glob("*.json")) - written:
            stale.unlink()
