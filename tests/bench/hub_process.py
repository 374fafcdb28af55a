"""Real hubs and nodes in processes of their own, driven as an operator would: `simpul hub init`, `invite`, `serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from node.cli.main import main as _entry_point  # noqa: F401 - the bench runs this program: fail early if it is broken
from tests.bench.processes import tree_cpu_s, tree_resident_mib

SIMPUL = (sys.executable, "-c", "from node.cli.main import main; main()")
STOP_LIMIT_S = 20
LINES_SHOWN = 3  # of what a server said that did not start


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
    def start(
        cls,
        directory: Path,
        *,
        role: str = "hub",
        words: Sequence[str] = (),
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> Self:
        """Serve on a free port; the address is the last word of the line that announces it. `words` go to `serve`.

        `prefix` is a command that becomes this one, such as `ip netns exec NAME`.
        """
        process = subprocess.Popen(
            [*prefix, *SIMPUL, role, "serve", str(directory), "--port", "0", *words],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "SIMPUL_LOG_LEVEL": "error", **(env or {})},
        )
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line.strip())
            if (last := line.split()[-1:]) and last[0].startswith("http"):
                return cls(directory, last[0], process)
        process.wait()
        process.stderr.close()
        raise RuntimeError(f"the {role} did not start: {' '.join(said[-LINES_SHOWN:])}")

    def resident_mib(self, field: str = "VmRSS") -> float:
        """Resident memory now, or at most since the start (`VmHWM`), of all its processes together."""
        return tree_resident_mib(self.process.pid, field)

    def cpu_s(self) -> float:
        """Processor seconds used so far, in all threads of all its processes."""
        return tree_cpu_s(self.process.pid)

    def stop(self) -> None:
        """SIGTERM, then wait; SIGKILL for what does not go."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert self.process.stderr is not None
        self.process.stderr.close()
