"""One target under atheris (libFuzzer): `python -m tests.fuzz.guided TARGET SECONDS`. Guided by coverage of our code.

atheris is no dependency of this project: `make fuzz` uses it where it is installed, and says so where it is not.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.hunt import FOUND, HANG_S, INPUT_MAX_BYTES


def is_there() -> bool:
    """Whether atheris is installed."""
    return find_spec("atheris") is not None


def main(name: str, seconds: int) -> None:
    """Does not come back: libFuzzer ends the process. Its last lines tell how many inputs there were."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["sync_protocol", "node", "keys"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="simpul-corpus-") as corpus:
        for number, seed in enumerate(target.seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={min(target.limit, INPUT_MAX_BYTES)}",
            f"-timeout={HANG_S:.0f}",
            f"-artifact_prefix={FOUND}/{name}--",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            corpus,
        ]
        atheris.Setup([sys.argv[0], *options], target.try_out)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
