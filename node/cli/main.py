"""The `simpul` command: one program, several roles. Commands parse and print; node/wiring/ says what they do."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from node.cli import audit, backup, desk, doctor, hub, keys, node
from node.cli.output import EXIT_FOUND_WRONG, EXIT_USAGE, JsonFlag, print_json
from node.logs import configure_logs

PROGRAM: Final = "simpul"
AS_JSON: Final = "--json"
#: What a command line that is not understood raises. Typer brings its own parser, of which only this class is public.
USAGE_ERROR: Final[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")

app = typer.Typer(
    name=PROGRAM,
    help="Federated, signed, verifiable synchronisation of complaints.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(hub.app, name="hub")
app.add_typer(node.app, name="node")
app.add_typer(keys.app, name="keys")
app.command("audit")(audit.audit)
hub.app.command("backup")(backup.hub_backup)
hub.app.command("restore")(backup.hub_restore)
hub.app.command("doctor")(doctor.hub_doctor)
node.app.command("backup")(backup.node_backup)
node.app.command("restore")(backup.node_restore)
node.app.command("doctor")(doctor.node_doctor)
node.app.command("escalations")(desk.escalations)
node.app.command("recall")(desk.recall)
node.app.command("direct")(desk.direct)


@app.command("demo")
def demo(
    agencies: Annotated[int, typer.Option(min=1, max=50, help="How many local nodes.")] = 3,
    complaints: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="How many complaints, in all. Default: 200, or the whole of --input."),
    ] = None,
    input_file: Annotated[
        Path | None, typer.Option("--input", exists=True, dir_okay=False, help="An export, dealt out in turn.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where the nodes live; default: a temporary folder.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when all is drained and audited.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Hub and local nodes on loopback: complaints flow, a link is cut and heals, the audit runs."""
    from node.cli.demo import run_demo
    from node.cli.output import run

    ok = run(
        run_demo(
            agencies=agencies,
            complaints=complaints,
            input_file=input_file,
            directory=directory,
            once=once,
            as_json=as_json,
        ),
        as_json=as_json,
    )
    if not ok:
        raise typer.Exit(1)


@app.command("version")
def version(as_json: JsonFlag = False) -> None:
    """The version of this program and of the protocol it speaks."""
    from importlib.metadata import version as installed

    from node.cli.output import emit

    document = {"simpul": installed("simpul"), "protocol": 1, "fold": 1}
    emit(document, as_json=as_json, human=lambda d: print(f"simpul {d['simpul']}, protocol 1, fold 1"))  # noqa: T201


def main() -> None:
    """Entry point of the console script. Until a serving command says otherwise, logs are warnings, on stderr."""
    os.umask(0o077)  # databases, exports and evidence hold what citizens said: nobody else on the machine reads them
    configure_logs("warning")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 shows \u2026, and no traceback
    words = sys.argv[1:]
    if AS_JSON in words:
        sys.exit(_speaking_json(words))
    app(args=words, prog_name=PROGRAM)


def _speaking_json(words: list[str]) -> int:
    """The exit code. A command line that is not understood, or an answer that never came, is a JSON document too."""
    try:
        code = app(args=words, prog_name=PROGRAM, standalone_mode=False)
    except USAGE_ERROR as error:
        error.show()
        path = error.ctx.command_path if error.ctx is not None else PROGRAM
        document = {"kind": "usage", "detail": error.format_message(), "next": f"{path} --help"}
        print_json({"ok": False, "error": document})
        return EXIT_USAGE
    except typer.Abort:
        print_json(
            {
                "ok": False,
                "error": {
                    "kind": "aborted",
                    "detail": "A question was not answered.",
                    "next": "Answer it, or give the option instead.",
                },
            }
        )
        return EXIT_FOUND_WRONG
    return code if isinstance(code, int) else 0
