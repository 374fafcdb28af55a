"""`simpul demo`: a hub and local nodes on loopback, for real; complaints flow, a link is cut and heals, the audit runs.

Everything is the program itself: directories, keys, invitations, enrolment over HTTP, intake, pushers, log, export,
audit. Only the complaints are made up, or read from an export.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from node.cli.demo_cast import Cast, assemble
from node.cli.demo_flow import AT_WORK, Deal, choose_agencies, deal_made_up, deal_rows, play, read_input
from node.cli.demo_view import Scene, Stage, show_addresses, show_summary
from node.cli.output import UsageProblem, console, print_json, stderr
from node.directory import Agency
from node.local.importers.rows import RefusedRow
from node.logs import configure_logs
from node.serving import until_told_to_stop
from node.system import SystemClock, SystemRandomness
from node.wiring import audit as audit_wiring
from node.wiring import hub as hub_wiring

COMPLAINTS: Final = 200
BEFORE_CUT: Final = 0.4  # of the complaints
WHILE_CUT: Final = 0.4
WATCHING_S: Final = 8.0  # how long the complaints should take to arrive where a person looks


@dataclass(frozen=True)
class Script:
    """What is to arrive: `count` complaints, dealt out; rows of the input that could not be read; a pause per wave."""

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
    demonstration = asyncio.ensure_future(_demonstrate(agencies, complaints, input_file, directory, once, as_json))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, demonstration.cancel)  # so that the temporary folder goes away
    try:
        return await demonstration
    except asyncio.CancelledError:
        stderr.print(Text("The demonstration was stopped."))
        return False
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _demonstrate(
    agencies: int,
    complaints: int | None,
    input_file: Path | None,
    directory: Path | None,
    once: bool,
    as_json: bool,
) -> bool:
    clock = SystemClock()
    started_s = clock.monotonic_s()
    chosen = choose_agencies(agencies)
    script = _write_script(chosen, complaints, input_file)
    scene = Scene()
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(_home(directory))
        with Stage(stderr, scene) as stage:
            stage.tell(f"A hub is founded, and {len(chosen)} agencies enrol")
            cast = await assemble(stack, chosen, home, scene, clock)
            await _perform(cast, script, stage)
            stage.tell("Everything is at the hub; its log is exported and audited")
            document = await _audit(cast, script, home)
        document["seconds"] = round(clock.monotonic_s() - started_s, 3)
        _show(cast, document, home, stays=not once, as_json=as_json)
        if not once:
            await until_told_to_stop()
    return bool(document["ok"])


def _write_script(agencies: Sequence[Agency], complaints: int | None, input_file: Path | None) -> Script:
    refused: Sequence[RefusedRow] = ()
    if input_file is None:
        count = COMPLAINTS if complaints is None else complaints
        deal = deal_made_up(agencies, count, SystemClock(), SystemRandomness())
    else:
        rows, refused = read_input(input_file, agencies[0], complaints)
        if not rows:
            step = "See what is wrong with it: simpul node import DIR FILE --dry-run"
            raise UsageProblem(f"{input_file.name} holds no row that can be read.", step)
        count, deal = len(rows), deal_rows(rows, len(agencies))
    waves = max(1, count // (AT_WORK * len(agencies)))
    return Script(deal, count, refused, min(1.0, WATCHING_S / waves) if stderr.is_terminal else 0.0)


@asynccontextmanager
async def _home(directory: Path | None) -> AsyncIterator[Path]:
    """Where the nodes live: the folder asked for, which must be new or empty, or one that goes away in the end."""
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="simpul-demo-") as made:
            yield Path(made)
        return
    if await asyncio.to_thread(_in_use, directory):
        raise UsageProblem(f"{directory} is not an empty folder.", "Name a new one with --dir, or leave --dir out.")
    yield directory


def _in_use(directory: Path) -> bool:
    return directory.exists() and (not directory.is_dir() or any(directory.iterdir()))


async def _perform(cast: Cast, script: Script, stage: Stage) -> None:
    """Complaints arrive; in the middle of it the first agency loses the hub, and finds it again."""
    first = cast.scene.agencies[0]
    before, while_cut = int(script.count * BEFORE_CUT), int(script.count * WHILE_CUT)
    for number, line in enumerate(cast.scene.agencies):
        line.total = (script.count - number + len(cast.nodes) - 1) // len(cast.nodes)
    watching = asyncio.create_task(cast.watch())
    try:
        stage.tell(f"{script.count} complaints begin to arrive")
        await play(script.deal, cast.seats, before, cast.clock, script.pause_s)
        cast.link.cut()
        stage.tell(f"The link of {first.name} is cut; its officers go on working")
        await play(script.deal, cast.seats, while_cut, cast.clock, script.pause_s)
        await cast.until_cut_is_noticed()
        stage.tell(f"{first.unsent} changes of {first.name} wait; the link is healed")
        cast.link.heal()
        await play(script.deal, cast.seats, script.count - before - while_cut, cast.clock, script.pause_s)
        stage.tell("All complaints have arrived; what is still on its way is awaited")
        await cast.until_drained(script.count)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _audit(cast: Cast, script: Script, home: Path) -> dict[str, Any]:
    """Export and audit as an auditor would do it; what was recorded must be what the log tells."""
    out = home / "export"
    await hub_wiring.export(cast.hub_directory, out, with_content=False)
    report = await audit_wiring.audit(str(out), vkey=cast.vkey, token=None, since=None)
    complaints = sum(line.complaints for line in cast.scene.agencies)
    changes = sum(line.changes for line in cast.scene.agencies)
    counted = (report["complaints"], report["changes"], report["agencies"], report["refused"])
    return {
        "ok": report["ok"] and counted == (complaints, changes, len(cast.nodes), 0),
        "agencies": len(cast.nodes),
        "complaints": complaints,
        "changes": changes,
        "change_sets": report["change_sets"],
        "refused_rows": [{"line": row.line, "reason": row.reason} for row in script.refused],
        "refused_connections": cast.link.refused,
        "audit": report,
    }


def _show(cast: Cast, document: dict[str, Any], home: Path, *, stays: bool, as_json: bool) -> None:
    addresses = {line.code: node.url for line, node in zip(cast.scene.agencies, cast.nodes, strict=True)}
    if stays:
        document["addresses"] = {"hub": cast.hub_url, **addresses}
    if as_json:
        print_json(document)
    else:
        show_summary(console, document, cast.scene.agencies)
    if stays:
        show_addresses(stderr if as_json else console, cast.hub_url, addresses, home)
