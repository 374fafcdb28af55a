"""`make scene`: the story on stderr as it happens; with --json one JSON document on stdout, and nothing else there."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from node.logs import configure_logs
from tests.scene.play import play
from tests.scene.story import Story


def main(arguments: Sequence[str]) -> None:
    """Plays the scene in a folder that goes away. An exception, and exit code 1, if anything does not hold."""
    parser = argparse.ArgumentParser(prog="make scene", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    wanted = parser.parse_args(arguments)
    story = Story(Console(stderr=True))
    with tempfile.TemporaryDirectory(prefix="simpul-scene-") as place:
        document = asyncio.run(_played(Path(place), story))
    story.end(document)
    if wanted.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document, enc_hook=str)).decode() + "\n")


async def _played(place: Path, story: Story) -> Mapping[str, Any]:
    return await play(place, story)


if __name__ == "__main__":
    configure_logs("error")
    main(sys.argv[1:])
