"""The scene that a founder shows (docs/scene.md), as the command plays it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

# By hand, with a calendar of 2026 on the wall: 17 February is Imlek and a Tuesday, days end at 17.00 UTC.
DUE: Final = (
    ("received", "2026-02-20", "verify"),  # three working days: 18, 19, 20
    ("offered", "2026-02-24", "first_answer"),  # five: 18, 19, 20, 23, 24
    ("declined", "2026-02-24", "first_answer"),
    ("offered", "2026-02-24", "first_answer"),
    ("accepted", "2026-02-23", "verify"),  # from the 18th: 19, 20, 23
    ("verified", "2026-02-25", "first_answer"),  # from the 18th: 19, 20, 23, 24, 25
    ("assigned", "2026-02-25", "first_answer"),
    ("answered", "2026-03-01", "close"),  # ten days of any kind
    ("replied", "2026-03-11", "settle"),  # fourteen working days after the 19th
    ("answered", "2026-03-02", "close"),
    ("closed", None, None),
    ("rated", None, None),
)


@pytest.mark.slow  # two weeks of a hub and three nodes
def test_a_complaint_finds_its_way_although_everything_comes_twice_and_out_of_order() -> None:
    command = [sys.executable, "-m", "tests.scene", "--json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    complaint = document["complaint"]
    assert {name: complaint[name] for name in ("owner", "state", "closed_by", "rating", "bounces")} == {
        "owner": "35.06",
        "state": "closed",
        "closed_by": "system",
        "rating": 4,
        "bounces": 1,
    }
    assert [(one["after"], one["due_at"], one["duty"]) for one in document["deadlines"]] == [
        (after, day and f"{day}T17:00:00.000Z", duty) for after, day, duty in DUE
    ]
    audit = document["audit"]
    assert (audit["ok"], audit["complaints"], audit["changes"], audit["refused"]) == (True, 1, len(DUE), 0)
    assert document["audit_deadlines"]["ok"]
    for kind, count in document["delivered"].items():
        assert count["deliveries"] >= 2 * count["messages"] > 0, kind
    for word in ("KediriKota", "Menolak,", "bounce 1", "Imlek", "Yang dibuktikan"):
        assert word in told.stderr
