"""`simpul audit …`: anybody who wants to check, trusting neither hub nor node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from node.cli.output import EXIT_USAGE, Failure, JsonFlag, console, emit, fail, run
from node.cli.progress import entries_progress

OTHER_TOKEN: Final = frozenset({"unauthorised"})  # the hub does not know the one that was given
OVERDUE_SHOWN: Final = 20  # lines of a screen


def audit(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR_OR_URL|receipt|deadlines", help="An export, a hub's URL, or the word `receipt` or `deadlines`."
        ),
    ],
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="After `receipt`: the file to check. After `deadlines`: DIR_OR_URL."),
    ] = None,
    vkey: Annotated[str | None, typer.Option("--vkey", help="The log key you trust.")] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="SIMPUL_AUDIT_TOKEN", help="An auditor's token, for a URL.")
    ] = None,
    since: Annotated[Path | None, typer.Option("--since", exists=True, help="A checkpoint that you kept.")] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="CA of the hub's certificate, if not the system's.")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option("--tables", exists=True, help="After `deadlines`: a folder with deadlines.toml, calendar.toml."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Verify every signature, chain, root and figure of an export or a live hub; one receipt, offline; or deadlines."""
    from node.wiring import audit as wiring

    if target == "receipt":
        if file is None:
            fail(Failure(EXIT_USAGE, "usage", "Which receipt?", "simpul audit receipt FILE"), as_json=as_json)
        document = run(wiring.audit_receipt(Path(file), vkey=vkey), as_json=as_json)
    elif target == "deadlines":
        if file is None:
            fail(Failure(EXIT_USAGE, "usage", "Of what?", "simpul audit deadlines DIR_OR_URL"), as_json=as_json)
        with entries_progress("auditing") as progress:
            due = wiring.audit_deadlines(
                file, vkey=vkey, token=token, tables=tables, ca_file=ca_file, progress=progress
            )
            document = run(due, as_json=as_json, usage=OTHER_TOKEN)
    elif file is not None:
        fail(
            Failure(EXIT_USAGE, "usage", f"{file} is one argument too many.", "simpul audit DIR_OR_URL"),
            as_json=as_json,
        )
    else:
        with entries_progress("auditing") as progress:
            work = wiring.audit(target, vkey=vkey, token=token, since=since, ca_file=ca_file, progress=progress)
            document = run(work, as_json=as_json, usage=OTHER_TOKEN)
    emit(document, as_json=as_json, human=_show_deadlines if target == "deadlines" else _show)
    if not document["ok"]:
        raise typer.Exit(1)


def _show(document: dict[str, Any]) -> None:
    for name, value in document.items():
        if name not in {"findings", "unproven", "by_state", "ok"}:
            console.print(Text(f"{name.replace('_', ' '):<14} {value}"))
    for state, count in document.get("by_state", {}).items():
        console.print(Text(f"  {state:<24} {count:>8}"))
    _show_verdict(document)


def _show_deadlines(document: dict[str, Any]) -> None:
    console.print(Text(f"as of {document['tick'] or 'no tick: nothing is overdue'}"))
    for agency, figures in document.get("agencies", {}).items():
        console.print(Text(f"{agency}: provably unreachable for {figures['unreachable_s'] // 3600} h"))
        for duty, counts in figures["duties"].items():
            told = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count)
            if told:
                console.print(Text(f"  {duty:<14} {told}"))
    if "hub" in document:
        console.print(Text(f"hub: provably unreachable for {document['hub']['unreachable_s'] // 3600} h"))
    for line in document.get("overdue", [])[:OVERDUE_SHOWN]:
        console.print(
            Text(f"overdue since {line['due_at']}: {line['duty']} of {line['complaint']} at {line['agency']}")
        )
    if document.get("overdue_count", 0) > OVERDUE_SHOWN:
        console.print(Text(f"… and {document['overdue_count'] - OVERDUE_SHOWN} more; --json names them"))
    _show_verdict(document)


def _show_verdict(document: dict[str, Any]) -> None:
    for entry in document["unproven"]:
        console.print(Text(f"unproven: {entry}", style="yellow"))
    for finding in document["findings"]:
        console.print(Text(f"FINDING: {finding}", style="bold red"))
    console.print(
        Text("Everything that was checked holds.", style="green")
        if document["ok"]
        else Text("NOT in order.", style="bold red")
    )
