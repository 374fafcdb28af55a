"""A real Kannel for tests: bearerbox, smsbox and fakesmsc of Debian, with the settings of config/kannel.example.conf.

Where it is missing it is installed with apt-get, if this is the superuser of a Debian; where that is not possible, or
apt-get refuses, a test that needs it is skipped with the reason. Ports are free ones, everything is in a folder of the
test's own, and every process ends with the context.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import pytest

from node.config_data import config_file
from tests.edge.ports import own_port
from tests.edge.program import wait_for

PACKAGES: Final = ("kannel", "kannel-extras")
PLACES: Final = ("/usr/sbin", "/usr/bin", "/usr/lib/kannel/test")
APT_S: Final = 80.0  # a test may take 120; where the mirror is far, the next run finds what this one began
START_S: Final = 30.0
SECRET: Final = "smsbox-says-this-to-the-node"
PASSWORD: Final = "the-node-says-this-to-smsbox"
SENDER: Final = "6281234567890"


class Missing(Exception):
    """There is no Kannel here, for this reason."""


def program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *PLACES)))


@lru_cache(maxsize=1)
def reason_missing() -> str:
    """Why there is no Kannel; "" if there is one, perhaps since just now."""
    try:
        _install()
    except Missing as missing:
        return str(missing)
    return ""


def needed() -> None:
    """Skips the test where there is no Kannel and none can be had."""
    if reason := reason_missing():
        pytest.skip(reason)


def _install() -> None:
    """Several workers of a run wait for the one that installs."""
    with (Path(tempfile.gettempdir()) / f"simpul-kannel-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_here():
            return
        if shutil.which("apt-get") is None:
            raise Missing("Kannel is not installed, and this system has no apt-get to install it with")
        if os.geteuid() != 0:
            raise Missing(f"Kannel is not installed; as root: apt-get install {' '.join(PACKAGES)}")
        install = ("install", "-y", "--no-install-recommends", *PACKAGES)
        deadline = time.monotonic() + APT_S
        for words in (install, ("update",), install):
            said = _apt(*words, seconds=deadline - time.monotonic())
            if _is_here():
                return
        raise Missing(f"Kannel is not installed, and apt-get would not: {said}")


def _is_here() -> bool:
    return all(program(name) for name in ("bearerbox", "smsbox", "fakesmsc"))


def _apt(*words: str, seconds: float) -> str:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    line = ["apt-get", "-q", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=15", *words]
    try:
        ran = subprocess.run(
            line, env=environment, capture_output=True, text=True, timeout=max(seconds, 1.0), check=False
        )
    except subprocess.TimeoutExpired:
        return f"{words[0]} took too long"
    lines = [one for one in (ran.stderr or ran.stdout).splitlines() if one.strip()]
    return lines[-1] if lines else f"{words[0]} ended with {ran.returncode}"


@dataclass
class Kannel:
    """Both boxes, running. `sent` and `got` are read from what fakesmsc says."""

    place: Path
    smsc_port: int
    sendsms_port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def says(self) -> Path:
        return self.place / "fakesmsc.log"

    def send(self, texts: list[str], *, messages: int, interval_s: float) -> subprocess.Popen[bytes]:
        """Begins to send so many SMS, each one of the texts at random, and goes on receiving.

        A text begins as fakesmsc wants it: `text …`, `data …` or `udh <header> …`, the last two with percent signs.
        """
        lines = [f"{SENDER} 1708 {text}" for text in texts]
        words = ["-H", "127.0.0.1", "-r", str(self.smsc_port), "-i", str(interval_s), "-m", str(messages), *lines]
        return self._start("fakesmsc", words, self.says)

    @property
    def sent(self) -> int:
        """How many SMS went out to Kannel."""
        return self.says.read_text(errors="replace").count("sent message ")

    @property
    def got(self) -> list[str]:
        """Texts of the SMS that came back, in order."""
        pattern = re.compile(rf"Got message \d+: <1708 {SENDER} text (.*)>$", re.MULTILINE)
        return pattern.findall(self.says.read_text(errors="replace"))

    def _start(self, name: str, words: list[str], says: Path) -> subprocess.Popen[bytes]:
        path = program(name)
        assert path is not None, name
        with says.open("ab") as out:
            begun = subprocess.Popen([path, *words], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.processes.append(begun)
        return begun

    def start_box(self, name: str) -> subprocess.Popen[bytes]:
        """bearerbox or smsbox."""
        return self._start(name, [str(self.place / "kannel.conf")], self.place / f"{name}.out")

    def end(self) -> None:
        """Every process is gone afterwards, the newest first."""
        for one in reversed(self.processes):
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
                try:
                    one.wait(2.0)
                except subprocess.TimeoutExpired:
                    one.kill()
                    one.wait()


@contextmanager
def kannel(place: Path, node_url: str, *, changed: Mapping[str, str] | None = None) -> Iterator[Kannel]:
    """Kannel before that node, in `place`; `changed` are settings of the example that are to be others."""
    admin, boxes, smsc, sendsms = (own_port() for _ in range(4))
    (place / "spool").mkdir(parents=True)
    conf = place / "kannel.conf"
    text = _settings(place, node_url, admin, boxes, smsc, sendsms)
    for old, new in (changed or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    conf.write_text(text)
    conf.chmod(0o600)
    (place / "fakesmsc.log").touch()
    running = Kannel(place, smsc, sendsms)
    try:
        running.start_box("bearerbox")
        wait_for("bearerbox listens", lambda: _listens(boxes) and _listens(smsc), START_S, 0.02)
        running.start_box("smsbox")
        wait_for("smsbox listens", lambda: _listens(sendsms), START_S, 0.02)
        yield running
    finally:
        running.end()


def _settings(place: Path, node_url: str, admin: int, boxes: int, smsc: int, sendsms: int) -> str:
    """The example's; only what belongs to one machine is another."""
    text = config_file("kannel.example.conf").read_text(encoding="utf-8")
    replaced = {
        "port = 10000": f"port = {smsc}",
        "13000": str(admin),
        "13001": str(boxes),
        "13013": str(sendsms),
        "/var/log/kannel": str(place),
        "/var/spool/kannel": str(place / "spool"),
        "http://127.0.0.1:8800": node_url,
        "CHANGE-ME-TOO": SECRET,
        "CHANGE-ME-THREE": PASSWORD,
        "CHANGE-ME": "admins-of-kannel-only",
    }
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def _listens(port: int) -> bool:
    """Whether somebody listens there, without a connection that bearerbox would take for an SMSC's."""
    states = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in map(str.split, states))
