"""Processes that are killed without warning lose nothing and repeat nothing (issue 2, done when 5).

The long form, 20 kills and 5,000 changes: `python -m tests.edge.kill_run`.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.edge.kill_run import kill_run
from tests.edge.program import Server, told
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, post_json, serving_hub

COMPLAINT = {"channel": "web", "title": "Lampu padam", "text": "Sudah tiga malam.", "visibility": "public"}


def test_after_kills_of_node_and_hub_at_random_moments_everything_is_there_once(tmp_path: Path) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"repeat with: python -m tests.edge.kill_run --kills 6 --changes 600 --seed {seed}")
    figures = kill_run(tmp_path, kills=6, changes=600, seed=seed)
    assert (figures.in_log, figures.in_projection) == (600, 600)


@dataclass
class Desk:
    """Callers of one node's intake that repeat a request until it is answered, each with its key."""

    node: NodeDirectory
    token: str
    server: Server
    answered: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take_in(self, key: str) -> None:
        """One complaint; whatever dies meanwhile, the same request comes again."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                answer = post_json(self.server.url + "/v1/complaints", COMPLAINT, self.token, {"Idempotency-Key": key})
            except (URLError, OSError):
                time.sleep(0.05)
                continue
            with self.lock:
                self.answered[key] = answer["complaint"]
            return
        raise AssertionError(f"{key} was never answered")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDirectory]:
    with serving_hub(tmp_path) as running:
        yield running


def test_a_complaint_that_was_answered_survives_and_one_that_was_not_is_taken_in_once(
    hub: HubDirectory, tmp_path: Path
) -> None:
    node = NodeDirectory(tmp_path / "node")
    node.enrol(hub)
    token = told("node", "token", "create", node.directory, "loket")["token"]
    desk = Desk(node, token, node.serve())
    chance = random.Random(secrets.randbelow(1_000_000))
    try:
        with ThreadPoolExecutor(8) as callers:
            waiting = [callers.submit(desk.take_in, f"key-{number:03}") for number in range(150)]
            for _ in range(2):
                time.sleep(chance.uniform(0.05, 0.3))
                desk.server.kill()
                desk.server = node.serve()
            for one in waiting:
                one.result()
        assert desk.server.stop() == 0
    finally:
        end(desk.server)
    assert len(set(desk.answered.values())) == 150
    assert node.push()["unsent"] == 0
    report = hub.audit_export(tmp_path / "export")
    assert (report["ok"], report["complaints"], report["changes"], report["refused"]) == (True, 150, 150, 0)
