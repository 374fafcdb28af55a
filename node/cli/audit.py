"""`simpul audit …`: anybody who wants to check, trusting neither hub nor node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from node.cli.output import EXIT_USAGE, Failure, JsonFlag, console, emit, fail, run
from node.cli.progress import entries_progress


def audit(
    target: Annotated[
        str, typer.Argument(metavar="DIR_OR_URL|receipt", help="An export, a hub's URL, or the word `receipt`.")
    ],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="After `receipt`: the file to check.")] = None,
    vkey: Annotated[str | None, typer.Option("--vkey", help="The log key you trust.")] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="SIMPUL_AUDIT_TOKEN", help="An auditor's token, for a URL.")
    ] = None,
    since: Annotated[Path | None, typer.Option("--since", exists=True, help="A checkpoint that you kept.")] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="CA of the hub's certificate, if not the system's.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Verify every signature, chain, root and figure of an export or a live hub; or one receipt, offline."""
    from node.wiring import audit as wiring

    if target == "receipt":
        if file is None:
            fail(Failure(EXIT_USAGE, "usage", "Which receipt?", "simpul audit receipt FILE"), as_json=as_json)
        document = run(wiring.audit_receipt(file, vkey=vkey), as_json=as_json)
    elif file is not None:
        fail(
            Failure(EXIT_USAGE, "usage", f"{file} is one argument too many.", "simpul audit DIR_OR_URL"),
            as_json=as_json,
        )
    else:
        with entries_progress("auditing") as progress:
            work = wiring.audit(target, vkey=vkey, token=token, since=since, ca_file=ca_file, progress=progress)
            document = run(work, as_json=as_json)
    emit(document, as_json=as_json, human=_show)
    if not document["ok"]:
        raise typer.Exit(1)


def _show(document: dict[str, Any]) -> None:
    for name, value in document.items():
        if name not in {"findings", "unproven", "by_state", "ok"}:
            console.print(Text(f"{name.replace('_', ' '):<14} {value}"))
    for state, count in document.get("by_state", {}).items():
        console.print(Text(f"  {state:<24} {count:>8}"))
    for entry in document["unproven"]:
        console.print(Text(f"unproven: {entry}", style="yellow"))
    for finding in document["findings"]:
        console.print(Text(f"FINDING: {finding}", style="bold red"))
    console.print(
        Text("Everything that was checked holds.", style="green")
        if document["ok"]
        else Text("NOT in order.", style="bold red")
    )
