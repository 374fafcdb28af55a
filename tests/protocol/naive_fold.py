"""The fold once more, slow and plain, written from docs/protocol.md §9.3 and §9.4 and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OPEN = {"received", "awaiting_information", "verified", "assigned", "in_progress", "answered", "on_hold"}
FROM: dict[str, set[str]] = {
    **dict.fromkeys(("amended", "attached", "noted", "identified", "offered", "recalled", "directed"), OPEN),
    **dict.fromkeys(("accepted", "declined", "withdrawn"), OPEN),
    "information_requested": {"received", "verified", "assigned"},
    "information_supplied": {"awaiting_information"},
    "verified": {"received"},
    "assigned": {"verified", "assigned", "in_progress"},
    "started": {"assigned"},
    "answered": {"assigned", "in_progress"},
    "replied": {"answered"},
    "held": OPEN - {"on_hold"},
    "resumed": {"on_hold"},
    "closed": {"answered"},
    "archived": {"received", "awaiting_information", "verified", "assigned", "on_hold"},
    "reopened": {"closed", "archived"},
    "rated": {"closed"},
    "erased": OPEN | {"closed", "archived"},
}
TO = {
    "information_requested": "awaiting_information",
    "verified": "verified",
    "assigned": "assigned",
    "started": "in_progress",
    "answered": "answered",
    "replied": "in_progress",
    "held": "on_hold",
    "closed": "closed",
    "archived": "archived",
    "reopened": "in_progress",
    "accepted": "received",
    "directed": "received",
}
OFFER_TYPES = {"accepted", "declined", "withdrawn"}


@dataclass
class Complaint:
    """One complaint as plain text and numbers."""

    owner: str
    state: str
    rev: int
    ids: list[str]
    unit: str | None = None
    back: str | None = None
    hold_back: str | None = None
    offer: tuple[str, str] | None = None  # leaf hash, to
    bounces: int = 0
    hand_overs: int = 0


@dataclass
class Model:
    """A national register, a dictionary of complaints, and the rules."""

    desk: str
    bounce_limit: int
    enrolled: set[str]
    silent: set[str] = field(default_factory=set)
    complaints: dict[str, Complaint] = field(default_factory=dict)

    def fold(self, agency: str, change: Mapping[str, Any], leaf: str) -> str:
        """The verdict; the complaint is changed only by `applied`."""
        name, kind, data = change["complaint"], change["type"], change["data"]
        complaint = self.complaints.get(name)
        if kind in ("received", "imported"):
            if name.rpartition(":")[0] != agency:
                return "foreign_id"
            if complaint is not None:
                return "already_exists"
            born = Complaint(agency, data.get("state", "received"), change["rev"], [change["id"]], data.get("unit"))
            self.complaints[name] = born
            return "applied"
        if complaint is None:
            return "unknown_complaint"
        verdict = self._refusal(complaint, agency, change)
        if verdict is None:
            self._apply(complaint, agency, change, leaf)
        return verdict or "applied"

    def _refusal(self, c: Complaint, agency: str, change: Mapping[str, Any]) -> str | None:
        kind, data = change["type"], change["data"]
        checks = [
            ("repeated_id", change["id"] in c.ids),
            ("no_offer", kind in OFFER_TYPES and (c.offer is None or data["offer"] != c.offer[0])),
            ("not_offered", kind in ("accepted", "declined") and c.offer is not None and c.offer[1] != agency),
            ("not_desk", kind in ("recalled", "directed") and agency != self.desk),
            ("not_owner", kind not in ("accepted", "declined", "recalled") and agency != c.owner),
            ("under_offer", c.offer is not None and kind not in OFFER_TYPES | {"recalled"}),
            ("wrong_rev", change["rev"] <= c.rev),
            ("bad_transition", c.state not in FROM[kind]),
            ("unknown_agency", kind in ("offered", "directed") and data["to"] not in self.enrolled),
            ("bad_target", kind in ("offered", "directed") and data["to"] == c.owner),
            ("not_yet", kind == "recalled" and c.bounces < self.bounce_limit and c.owner not in self.silent),
            ("too_many_changes", len(c.ids) >= 4096),
        ]
        return next((verdict for verdict, holds in checks if holds), None)

    def _apply(self, c: Complaint, agency: str, change: Mapping[str, Any], leaf: str) -> None:
        kind, data = change["type"], change["data"]
        c.rev = change["rev"]
        c.ids.append(change["id"])
        if kind == "information_requested":
            c.back = c.state
        if kind == "held":
            c.hold_back = c.state
        if kind == "assigned":
            c.hand_overs += c.unit is not None
            c.unit = data["unit"]
        if kind == "offered":
            c.offer = (leaf, data["to"])
        if kind == "declined":
            c.bounces += 1
        if kind in OFFER_TYPES | {"recalled"}:
            c.offer = None
        before = c.state
        c.state = TO.get(kind, c.state)
        if kind == "information_supplied":
            c.state, c.back = c.back or "received", None
        if kind == "resumed":
            c.state, c.hold_back = c.hold_back or "received", None
        if kind in ("accepted", "recalled", "directed"):
            c.owner = data["to"] if kind == "directed" else agency
            c.unit = c.back = c.hold_back = None
        if kind == "directed":
            c.bounces = 0
        assert c.state == before or kind not in ("amended", "attached", "noted", "identified", "erased", "rated")
