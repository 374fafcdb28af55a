"""`simpul node|hub doctor`: what is wrong, and what to do, in English and Indonesian."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from node.cli.output import JsonFlag, console, emit, run

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory to look at.")]

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def node_doctor(directory: Directory, as_json: JsonFlag = False) -> None:
    """Look at clock, disk, permissions, keys, hub, TLS, database, backup and receipts; also while it serves."""
    from node.wiring import doctor

    _show(run(doctor.node_doctor(directory), as_json=as_json), as_json=as_json)


def hub_doctor(directory: Directory, as_json: JsonFlag = False) -> None:
    """Look at disk, permissions, keys, lock, log, projection, ticks, TLS, backup and agencies; also while it serves."""
    from node.wiring import doctor

    _show(run(doctor.hub_doctor(directory), as_json=as_json), as_json=as_json)


def _show(document: dict[str, Any], *, as_json: bool) -> None:
    emit(document, as_json=as_json, human=_print_table)
    if document["exit_code"]:
        raise typer.Exit(document["exit_code"])


def _print_table(document: dict[str, Any]) -> None:
    table = Table("check", "", "finding / temuan", "next / langkah berikut", show_lines=True)
    for finding in document["findings"]:
        level = finding["level"]
        said = Text(f"{finding['detail']}\n").append(finding["detail_id"], style="italic")
        step = Text(finding["next"])
        if finding["next_id"] and finding["next_id"] != finding["next"]:
            step.append("\n").append(finding["next_id"], style="italic")
        table.add_row(finding["check"], Text(level, style=_STYLES[level]), said, step)
    console.print(table)
