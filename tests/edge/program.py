"""The program as people run it, each command in a process of its own.

`simpul` and `start` fork the process from one that has the program loaded already (multiprocessing's fork server): what
takes a second of loading for each command otherwise. Everything else is the real thing: the entry point of the
console script, arguments, environment, signals, exit codes, stdout and stderr. `script` starts the console script.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = Path(sys.executable).with_name("simpul")
START_S: Final = 60.0  # until a server has announced itself; well under a second where the machine is free
COMMAND_S: Final = 100.0
_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(["tests.edge.loaded"])

Word = str | Path


def environment(changed: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without settings of the program and without proxies."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("SIMPUL_")}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        kept.pop(name, None)
        kept.pop(name.upper(), None)
    return kept | dict(changed or {})


def _run_main(words: list[str], env: dict[str, str], out: str, err: str, file_size_max: int | None) -> None:
    """In the forked process: what the console script does, with these files for stdout and stderr."""
    for name, descriptor in ((out, 1), (err, 2)):
        opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    if file_size_max is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_max, file_size_max))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
    sys.argv = [str(PROGRAM), *words]
    from node.cli.main import main

    main()


@dataclass(frozen=True)
class Ran:
    """A command that ended; `code` is negative where a signal ended it."""

    words: list[str]
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; anything beside it fails here."""
        return json.loads(self.out)

    def expect(self, code: int) -> Ran:
        """Itself, if it ended like that and without a defect of the program."""
        assert self.code == code, f"simpul {' '.join(self.words)} ended with {self.code}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.err, self.err
        return self


@dataclass
class Running:
    """A process of the program. `err` is the file that it writes stderr to."""

    words: list[str]
    process: BaseProcess
    out: Path
    err: Path

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    @property
    def code(self) -> int | None:
        return self.process.exitcode

    @property
    def peak_mib(self) -> float:
        """The most memory that it ever had, resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024

    def kill(self) -> None:
        """SIGKILL: no good-bye."""
        self.process.kill()
        self.process.join(10)

    def stop(self, within_s: float = 10.0) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        self.process.join(within_s)
        assert self.process.exitcode is not None, f"not stopped within {within_s} s"
        return self.process.exitcode

    def wait(self, within_s: float = COMMAND_S) -> Ran:
        """Its end."""
        self.process.join(within_s)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"simpul {' '.join(self.words)} did not end within {within_s} s: {self.said()}")
        return Ran(self.words, self.process.exitcode, self.out.read_text(), self.said())

    def said(self) -> str:
        """Its stderr until now."""
        return self.err.read_text() if self.err.exists() else ""


@dataclass
class Server(Running):
    """A serving process. `url` ends without a slash."""

    url: str = field(default="")

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])


def spawn(*words: Word, env: Mapping[str, str] | None = None, file_size_max: int | None = None) -> Running:
    """A command, begun."""
    spelled = [str(word) for word in words]
    files = [Path(name) for name in (_empty_file(), _empty_file())]
    process = _forking.Process(
        target=_run_main, args=(spelled, environment(env), str(files[0]), str(files[1]), file_size_max), daemon=True
    )
    process.start()
    return Running(spelled, process, *files)


def _empty_file() -> str:
    descriptor, name = tempfile.mkstemp(prefix="simpul-test-", dir=_scratch.name)
    os.close(descriptor)
    return name


_scratch = tempfile.TemporaryDirectory(prefix="simpul-tests-", ignore_cleanup_errors=True)


def simpul(*words: Word, code: int = 0, env: Mapping[str, str] | None = None, file_size_max: int | None = None) -> Ran:
    """A command, run to its end, which is `code`. `file_size_max`: no file may grow beyond (a full disk)."""
    return spawn(*words, env=env, file_size_max=file_size_max).wait().expect(code)


def told(*words: Word, code: int = 0, env: Mapping[str, str] | None = None) -> Any:
    """The document of a command with --json."""
    return simpul(*words, "--json", code=code, env=env).document


def script(*words: Word, code: int = 0, env: Mapping[str, str] | None = None) -> Ran:
    """The same by the console script that is installed."""
    line = [str(PROGRAM), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(env), timeout=COMMAND_S, check=False)
    return Ran(line[1:], done.returncode, done.stdout, done.stderr).expect(code)


def start(*words: Word, env: Mapping[str, str] | None = None, file_size_max: int | None = None) -> Server:
    """`… serve`, once it listens."""
    begun = spawn(*words, env=env, file_size_max=file_size_max)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        for line in begun.said().splitlines(keepends=True):
            if " listens on http" in line and line.endswith("\n"):
                url = line.rsplit(" ", 1)[1].strip()
                return Server(begun.words, begun.process, begun.out, begun.err, url)
        if not begun.is_alive:
            raise AssertionError(f"simpul {' '.join(begun.words)} ended with {begun.code}: {begun.said()}")
        time.sleep(0.02)
    begun.kill()
    raise AssertionError(f"simpul {' '.join(begun.words)} did not listen within {START_S} s: {begun.said()}")


def wait_for(what: str, holds: Any, within_s: float = 60.0, every_s: float = 0.1) -> Any:
    """What `holds()` gives, once that is true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s:g} s: {what}")
