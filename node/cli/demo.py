"""`simpul demo`: a hub and local nodes on loopback, for real; complaints flow, a link is cut and heals, the audit runs.

Everything is the program itself: directories, keys, invitations, enrolment over HTTP, intake, pushers, log, export,
audit. Only the complaints are made up, or read from an export.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from node.cli.demo_flow import Deal, Seat, choose_agencies, deal_made_up, deal_rows, play, read_input
from node.cli.demo_link import CuttableLink
from node.cli.demo_view import AgencyLine, Scene, Stage, show_addresses, show_summary
from node.cli.output import UsageProblem, console, print_json, stderr
from node.directory import Agency
from node.hub.hub import Hub
from node.local.importers.rows import RefusedRow
from node.logs import configure_logs
from node.serving import until_told_to_stop
from node.system import SystemClock, SystemRandomness
from node.wiring import audit as audit_wiring
from node.wiring import hub as hub_wiring
from node.wiring import local as local_wiring
from node.wiring.demo import LOOPBACK, RunningNode, running_hub, running_node
from sync_protocol.errors import Unavailable

ORIGIN: Final = "simpul.example/demo"
BEFORE_CUT: Final = 0.4  # of the complaints
WHILE_CUT: Final = 0.4
NOTICED_S: Final = 10.0  # a pusher notices a cut link within its first attempt
DRAIN_S: Final = 60.0  # the longest pause of an outage that was so short, many times over
DRAIN_S_PER_COMPLAINT: Final = 0.02
WATCHING_S: Final = 8.0  # how long the complaints should take to arrive where a person looks
LOOK_S: Final = 0.25


@dataclass
class Play:
    """The demonstration while it runs."""

    agencies: Sequence[Agency]
    clock: SystemClock
    scene: Scene
    stage: Stage
    hub: Hub
    hub_url: str
    vkey: str
    link: CuttableLink
    nodes: list[RunningNode] = field(default_factory=list)

    @property
    def lines(self) -> list[AgencyLine]:
        """One line of the picture for each agency."""
        return self.scene.agencies


@dataclass(frozen=True)
class Script:
    """What is to arrive: `count` complaints, dealt out; rows of the input that could not be read; pauses."""

    deal: Deal
    count: int
    refused: Sequence[RefusedRow]
    pause_s: float


async def run_demo(
    *,
    agencies: int,
    complaints: int | None,
    input_file: Path | None,
    directory: Path | None,
    once: bool,
    as_json: bool,
) -> bool:
    """The command. True if everything arrived and the audit found nothing wrong.

    `complaints` None means 200, or the whole of `input_file`. Raises UsageProblem, and what the parts raise.
    """
    configure_logs("error")
    started_s = SystemClock().monotonic_s()
    chosen = choose_agencies(agencies)
    script = _write_script(chosen, complaints, input_file)
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(_home(directory))
        staged = AsyncExitStack()
        await stack.enter_async_context(staged)
        scene = Scene()
        stage = staged.enter_context(Stage(stderr, scene))
        play_ = await _found(stack, chosen, home, scene, stage)
        await _perform(play_, script, staged)
        await _drain(play_, script.count)
        await staged.aclose()
        document = await _audit(play_, script, home)
        document["seconds"] = round(SystemClock().monotonic_s() - started_s, 3)
        await _show(play_, document, home=home, once=once, as_json=as_json)
        if not once:
            await until_told_to_stop()
    return bool(document["ok"])


def _write_script(agencies: Sequence[Agency], complaints: int | None, input_file: Path | None) -> Script:
    watched = stderr.is_terminal
    if input_file is None:
        count = 200 if complaints is None else complaints
        deal = deal_made_up(agencies, count, SystemClock(), SystemRandomness())
        refused: Sequence[RefusedRow] = ()
    else:
        rows, refused = read_input(input_file, agencies[0], complaints)
        if not rows:
            raise UsageProblem(f"{input_file.name} holds no row that can be read.", "Try it: simpul node import --dry-run")
        count, deal = len(rows), deal_rows(rows, len(agencies))
    waves = max(1, count // (8 * len(agencies)))
    return Script(deal, count, refused, min(1.0, WATCHING_S / waves) if watched else 0.0)


@asynccontextmanager
async def _home(directory: Path | None) -> AsyncIterator[Path]:
    """Where the nodes live: the folder asked for, which must be new or empty, or one that goes away in the end."""
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="simpul-demo-") as made:
            yield Path(made)
        return
    if await asyncio.to_thread(lambda: directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
        raise UsageProblem(f"{directory} is not an empty folder.", "Name a new one with --dir, or leave --dir out.")
    yield directory
