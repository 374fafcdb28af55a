"""Real hubs and nodes in processes of their own, driven as an operator would: `simpul hub init`, `invite`, `serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from node.cli.main import main as _entry_point  # noqa: F401 - the bench runs this program: fail early if it is broken

SIMPUL = (sys.executable, "-c", "from node.cli.main import main; main()")


def simpul(*words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """One command with --json; its document. Raises CalledProcessError."""
    done = subprocess.run(
        [*SIMPUL, *words, "--json"], check=True, capture_output=True, env={**os.environ, **(env or {})}
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@dataclass
class ServingProcess:
    """A serving hub or node; `url` is where it listens."""

    directory: Path
    url: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, directory: Path, *, role: str = "hub", env: dict[str, str] | None = None) -> Self:
        """Serve on a free port; the address is the last word of the line that announces it."""
        process = subprocess.Popen(
            [*SIMPUL, role, "serve", str(directory), "--port", "0"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "SIMPUL_LOG_LEVEL": "error", **(env or {})},
        )
        assert process.stderr is not None
        words: list[str] = []
        for line in process.stderr:
            words = line.split()
            if words and words[-1].startswith("http"):
                return cls(directory, words[-1], process)
        raise RuntimeError(f"the {role} did not start: {' '.join(words)}")

    def resident_mib(self, field: str = "VmRSS") -> float:
        """Resident memory now, or at most since the start (`VmHWM`)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the process is gone")

    def cpu_s(self) -> float:
        """Processor seconds used so far, in all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """SIGTERM, then wait."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        assert self.process.stderr is not None
        self.process.stderr.close()
