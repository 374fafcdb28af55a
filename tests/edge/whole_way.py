"""Directories of hubs and nodes, and the commands of the program on them: for tests that go the whole way.

What a test knows of hub and node, it knows from stdout, stderr, exit codes, files and HTTP.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.edge.ports import own_port
from tests.edge.program import Running, Server, spawn, start, told

ORIGIN: Final = "hub.example/log"
SAMARINDA: Final = "64.72"
ANSWER_S: Final = 30.0


@dataclass
class HubDirectory:
    """A hub's directory, and the process that serves it while one does."""

    directory: Path
    vkey: str
    server: Server | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    database_url: str | None = None

    @classmethod
    def make(
        cls, directory: Path, *, database_url: str | None = None, lock_url: str | None = None, **env: str
    ) -> HubDirectory:
        words = ("--database-url", database_url) if database_url else ()
        settings = {"SIMPUL_LOCK_URL": lock_url} if lock_url else {}
        document = told("hub", "init", directory, "--origin", ORIGIN, *words, env=settings)
        return cls(directory, document["vkey"], None, env, database_url)

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    def serve(self, port: int | None = None, *, processes: int = 1) -> Server:
        """At a port of its own, unless one is given."""
        words = ("--port", str(port or own_port()), "--processes", str(processes))
        self.server = start("hub", "serve", self.directory, *words, env=self.env)
        return self.server

    def restart(self, *, processes: int = 1) -> Server:
        """At the same address, after it died."""
        assert self.server is not None
        return self.serve(self.server.port, processes=processes)

    def invite(self, agency: str = SAMARINDA) -> str:
        return str(told("hub", "invite", self.directory, agency)["token"])

    def status(self) -> Any:
        return told("hub", "status", self.directory)

    def export(self, out: Path, *options: str) -> Path:
        told("hub", "export", self.directory, out, *options)
        return out

    def audit(self, target: str | Path, *options: str | Path, code: int = 0) -> Any:
        return told("audit", target, "--vkey", self.vkey, *options, code=code)

    def audit_export(self, out: Path, code: int = 0) -> Any:
        """Exported and audited at once."""
        return self.audit(self.export(out), code=code)

    def grant(self, name: str = "budi", *options: str) -> str:
        return str(told("hub", "grant", self.directory, "auditor", name, *options)["token"])

    def get(self, path: str, token: str | None = None) -> bytes:
        """A body that the hub serves."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return bytes(answer.read())

    @property
    def size(self) -> int:
        """Of the published log."""
        return int(self.get("/checkpoint").split(b"\n")[1])


@dataclass
class NodeDirectory:
    """A local node's directory."""

    directory: Path
    agency: str = SAMARINDA

    def enrol(self, hub: HubDirectory, *, url: str | None = None, token: str | None = None) -> Any:
        return told(
            *("node", "enrol", self.directory, "--hub", url or hub.url, "--vkey", hub.vkey),
            *("--agency", self.agency, "--token", token or hub.invite(self.agency)),
        )

    def import_(self, file: Path, code: int = 0) -> Any:
        return told("node", "import", self.directory, file, code=code)

    def begin_push(self, *, timeout_s: int = 60, env: Mapping[str, str] | None = None) -> Running:
        """`node push --until-drained`, not waited for."""
        words = ("node", "push", self.directory, "--until-drained", "--timeout", str(timeout_s), "--json")
        return spawn(*words, env=env)

    def push(self, *, code: int = 0, timeout_s: int = 60, env: Mapping[str, str] | None = None) -> Any:
        return self.begin_push(timeout_s=timeout_s, env=env).wait().expect(code).document

    def push_in_vain(self, is_told: Callable[[Any], object], *, env: Mapping[str, str] | None = None) -> Any:
        """The document of a push that its time limit ends: 1 s, and more where that is too short for what `is_told`.

        A machine may be so busy that within a second nothing was tried yet.
        """
        document = None
        for timeout_s in (1, 4, 16):
            document = self.push(code=3, timeout_s=timeout_s, env=env)
            if is_told(document):
                break
        return document

    def status(self) -> Any:
        """The document of `node status`, which ends with 1 where the node is halted, and there alone."""
        ran = spawn("node", "status", self.directory, "--json").wait()
        return ran.expect(1 if ran.document["pusher"] == "halted" else 0).document

    def serve(self, env: Mapping[str, str] | None = None) -> Server:
        return start("node", "serve", self.directory, "--port", "0", env=env)


@contextmanager
def serving_hub(place: Path, **env: str) -> Iterator[HubDirectory]:
    """A new hub in `place`/hub that serves; gone at the end, whatever happened."""
    hub = HubDirectory.make(place / "hub", **env)
    hub.serve()
    try:
        yield hub
    finally:
        end(hub.server)


def end(server: Running | None) -> None:
    """However it stands, it is gone afterwards."""
    if server is not None and server.is_alive:
        server.kill()


def post_json(url: str, body: object, token: str, headers: Mapping[str, str] | None = None) -> Any:
    """A POST to a node's intake; raises urllib's HTTPError for a problem."""
    names = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"} | dict(headers or {})
    request = urllib.request.Request(url, json.dumps(body).encode(), names, method="POST")
    with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
        return json.load(answer)
