"""`simpul keys …`: the keys of a node or a hub directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from node.cli.output import JsonFlag, console, emit, run

app = typer.Typer(help="Keys of a directory: show, rotate, revoke.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a node or a hub.")]
Role = Annotated[str, typer.Option("--role", help="agency, sealing (node) · registrar, log (hub).")]


@app.command("show")
def show(directory: Directory, as_json: JsonFlag = False) -> None:
    """Public keys and their kids. Secrets are never shown."""
    from node.wiring import keys as wiring

    def human(document: dict[str, Any]) -> None:
        for key in document["keys"]:
            console.print(Text(f"{key['role']:<10} {key['kid'] or ''} {key['public_key']}"))

    emit(run(wiring.show_keys(directory), as_json=as_json), as_json=as_json, human=human)


@app.command("rotate")
def rotate(directory: Directory, role: Role = "", as_json: JsonFlag = False) -> None:
    """A new key, proven to the hub by the old one. A node drains first."""
    from node.wiring import keys as wiring

    document = run(wiring.rotate_key(directory, role=role), as_json=as_json)
    emit(
        document,
        as_json=as_json,
        human=lambda d: console.print(
            Text(f"Key {d['old']} is followed by {d['new']} from log index {d['index']} on.")
        ),
    )


@app.command("revoke")
def revoke(
    directory: Directory,
    reason: Annotated[str, typer.Option(help="Reason code, for example lost or stolen.")] = "unspecified",
    disputed_from: Annotated[int, typer.Option(min=0, help="First sequence in doubt; nothing is undone.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """End this node's own key for good; a new invitation is needed afterwards."""
    from node.wiring import keys as wiring

    if not yes and not as_json:
        typer.confirm("This ends the node's key for good. Go on?", abort=True)
    document = run(wiring.revoke_own_key(directory, reason=reason, disputed_from=disputed_from), as_json=as_json)
    emit(
        document,
        as_json=as_json,
        human=lambda d: console.print(
            Text(f"Key {d['kid']} ended at log index {d['index']}. Ask the hub for a new invitation.")
        ),
    )
