"""The desk of an agency: callers of a node's intake that repeat a request until it is answered, each with its key.

`desk_run` kills the serving node, and the hub now and then, under them: what was answered is there, and once.
"""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError

from tests.edge.kill_figures import Asked, Figures
from tests.edge.program import Server, told, wait_for
from tests.edge.watcher import watching
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, post_json

COMPLAINT: Final = {"channel": "web", "title": "Lampu padam", "text": "Sudah tiga malam.", "visibility": "public"}
CALLERS: Final = 4
PATIENCE_S: Final = 60.0
HUB_KILLS: Final = 0.25  # of the kills; the others are the node's
LONGEST_LIFE_S: Final = 0.4
PAUSE_S: Final = 0.02  # of one caller between two complaints: a hub with a slow disk keeps up
DRAIN_S: Final = 120


@dataclass
class Desk:
    """`answered` has the complaint of each key that got its 201."""

    node: NodeDirectory
    token: str
    server: Server
    answered: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, node: NodeDirectory, **env: str) -> Desk:
        token = told("node", "token", "create", node.directory, "loket")["token"]
        return cls(node, token, node.serve(env))

    def ask(self, key: str, text: str | None = None) -> str:
        """One request: the complaint's id. Raises what urllib raises."""
        body = COMPLAINT if text is None else COMPLAINT | {"text": text}
        answer = post_json(self.server.url + "/v1/complaints", body, self.token, {"Idempotency-Key": key})
        with self.lock:
            self.answered[key] = answer["complaint"]
        return str(answer["complaint"])

    def take_in(self, key: str) -> None:
        """One complaint; whatever dies meanwhile, the same request comes again."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                self.ask(key)
            except HTTPError as error:
                if error.code < 500:
                    raise
                time.sleep(0.05)
            except (URLError, OSError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"{key} was never answered")

    def health(self) -> tuple[int, Any]:
        """What a monitor sees."""
        return health_of(self.server.url)

    @contextmanager
    def open_to_callers(self) -> Iterator[None]:
        """While the block runs they come one after the other."""
        numbers, is_over = count(), threading.Event()

        def caller() -> None:
            while not is_over.wait(PAUSE_S):
                with self.lock:
                    number = next(numbers)
                self.take_in(f"key-{number:06}")

        with ThreadPoolExecutor(CALLERS) as callers:
            waiting: list[Future[None]] = [callers.submit(caller) for _ in range(CALLERS)]
            try:
                yield
            finally:
                is_over.set()
            for one in waiting:
                one.result()


def health_of(url: str, *, within_s: float = PATIENCE_S) -> tuple[int, Any]:
    """Status and body of /healthz; also of a server that says that it is not well. Raises OSError."""
    try:
        with urllib.request.urlopen(url + "/healthz", timeout=within_s) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def desk_run(place: Path, asked: Asked, say: Callable[[str], None] = print) -> Figures:
    """Raises AssertionError if a complaint that was answered is not there, or one is there twice."""
    started, chance, figures = time.monotonic(), random.Random(asked.seed), Figures(asked.seed)
    hub = HubDirectory.make(place / "hub")
    hub.serve()
    node = NodeDirectory(place / "node")
    node.enrol(hub)
    desk = Desk.open(node)
    try:
        with watching(hub) as watcher, desk.open_to_callers():
            for number in range(asked.kills):
                known = len(desk.answered)
                wait_for("an answer", lambda known=known: len(desk.answered) > known, every_s=0.005)
                time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
                name = "hub" if chance.random() < HUB_KILLS else "serving node"
                figures.killed[name] += 1
                _kill(name, hub, desk)
                say(f"kill {number + 1} of {asked.kills}: {name}, {known} complaints answered")
        assert desk.server.stop() == 0
        status = node.push(timeout_s=DRAIN_S)
        assert (status["unsent"], status["unacknowledged"], status["troubles"]) == (0, 0, []), status
    finally:
        end(desk.server)
        end(hub.server)
    figures.changes = len(set(desk.answered.values()))
    assert figures.changes == len(desk.answered), "two keys got one complaint"
    figures.count_up(hub, place / "export", [node.agency], watcher, rebuilds=True)
    figures.seconds = round(time.monotonic() - started, 1)
    return figures


def _kill(name: str, hub: HubDirectory, desk: Desk) -> None:
    if name == "hub":
        assert hub.server is not None
        hub.server.kill()
        hub.restart()
    else:
        desk.server.kill()
        desk.server = desk.node.serve()
