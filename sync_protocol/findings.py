"""What an audit says: proven wrongs, and its own count of what is in the log (see audit.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """Something proven wrong. `agency` and `seq` name the set, `index` the log entry, where there is one."""

    kind: str
    detail: str
    agency: str | None = None
    seq: int | None = None
    index: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        return {
            "kind": self.kind,
            "agency": self.agency,
            "seq": self.seq,
            "index": self.index,
            "detail": self.detail,
        }


@dataclass(slots=True)
class ChainEnd:
    """The newest set of an agency's chain that the audit read."""

    epoch: int
    seq: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class AuditTotals:
    """What the audit counted itself."""

    size: int
    root: bytes
    agencies: int
    change_sets: int
    changes: int
    hidden_leaves: int
    state_hash: str | None
    complaints: int
    refused: int
    by_state: Mapping[str, int]
