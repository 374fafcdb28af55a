"""`simpul node …`: an agency's IT officer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from node.cli.output import EXIT_FOUND_WRONG, JsonFlag, console, emit, run, stderr
from node.cli.progress import import_progress

app = typer.Typer(help="An agency's local node.", no_args_is_help=True)
token_app = typer.Typer(help="API tokens of the intake.", no_args_is_help=True)
app.add_typer(token_app, name="token")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The node's directory.")]
ExportFile = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)]
ExportFormat = Annotated[str | None, typer.Option("--format", metavar="sp4n|csv", help="Default: the header decides.")]
MapFile = Annotated[
    Path | None, typer.Option("--map", exists=True, dir_okay=False, help="Column map for --format csv.")
]


@app.command("enrol")
def enrol(
    directory: Directory,
    hub: Annotated[str, typer.Option("--hub", metavar="URL")],
    vkey: Annotated[str, typer.Option("--vkey", help="The hub's log key, from the invitation.")],
    agency: Annotated[str, typer.Option("--agency", metavar="CODE")],
    token: Annotated[
        str | None,
        typer.Option("--token", help="One-time token, from the invitation. Not needed where keys/ holds its key."),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="CA of the hub's certificate, if not the system's.")
    ] = None,
    allow_plain_http: Annotated[bool, typer.Option("--allow-plain-http", help="Also beyond loopback.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Create this node's keys and have the hub enrol it. May be repeated with the same token.

    Without --token: who this node is, is read from the hub's log by the key in keys/, of which a backup is left.
    """
    from node.wiring import local as wiring

    work = wiring.enrol(
        directory, hub=hub, vkey=vkey, agency=agency, token=token, ca_file=ca_file, allow_plain_http=allow_plain_http
    )
    document = run(work, as_json=as_json)
    text = f"{agency} is enrolled at {hub} (log index {document['index']}).\nNext: simpul node serve {directory}"
    emit(document, as_json=as_json, human=lambda _: console.print(Text(text)))


@app.command("serve")
def serve(
    directory: Directory,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default: 8800.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve the intake and push to the hub until SIGTERM or Ctrl-C."""
    from node.wiring import local as wiring

    run(wiring.serve_node(directory, host=host, port=port), as_json=as_json)


@app.command("status")
def status(directory: Directory, as_json: JsonFlag = False) -> None:
    """Unsent, unacknowledged, age of the last receipt, the pusher's state, its next attempt. Ends with 1 if halted."""
    from node.wiring import node_store as wiring

    document = run(wiring.node_status(directory), as_json=as_json)
    emit(document, as_json=as_json, human=_show_status)
    if document["pusher"] == "halted":
        raise typer.Exit(EXIT_FOUND_WRONG)


def _show_status(document: dict[str, Any]) -> None:
    age = document["last_receipt_age_s"]
    console.print(Text(f"Agency {document['agency']}: pusher {document['pusher']}"))
    console.print(Text(f"unsent {document['unsent']}, unacknowledged {document['unacknowledged']}"))
    console.print(Text("last receipt " + ("never" if age is None else f"{age:.0f} s ago")))
    if document.get("files_waiting"):
        why = document["files_trouble"] or "on their way, while `simpul node serve` runs"
        console.print(Text(f"files that the hub does not have yet: {document['files_waiting']} ({why})"))
    if document["next_attempt_at"]:
        console.print(Text(f"next attempt at {document['next_attempt_at']}"))
    for trouble in document["troubles"]:
        console.print(Text(f"! {trouble}", style="red"))


@token_app.command("create")
def token_create(
    directory: Directory, name: Annotated[str, typer.Argument(metavar="NAME")], as_json: JsonFlag = False
) -> None:
    """A token for a program or a person that takes in complaints; shown once, kept hashed."""
    from node.wiring import node_store as wiring

    document = run(wiring.create_token(directory, name), as_json=as_json)
    emit(document, as_json=as_json, human=lambda d: console.print(Text(f"Token {name} (shown once):\n  {d['token']}")))


@token_app.command("revoke")
def token_revoke(
    directory: Directory, name: Annotated[str, typer.Argument(metavar="NAME")], as_json: JsonFlag = False
) -> None:
    """End every token of that name."""
    from node.wiring import node_store as wiring

    document = run(wiring.revoke_token(directory, name), as_json=as_json)
    emit(document, as_json=as_json, human=lambda d: console.print(Text(f"{d['revoked']} token(s) of {name} ended.")))
    if not document["revoked"]:
        raise typer.Exit(1)


@app.command("import")
def import_(
    directory: Directory,
    file: ExportFile,
    format_: ExportFormat = None,
    map_file: MapFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and judge every row; record nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Import an export of another system. Importing twice adds nothing; bad rows are named, the rest goes in."""
    from node.wiring import node_work as wiring

    with import_progress(f"importing {file.name}") as show:
        work = wiring.import_file(
            directory,
            file,
            format_name=format_,
            map_file=map_file,
            dry_run=dry_run,
            progress=show,
        )
        document = run(work, as_json=as_json)

    def human(done: dict[str, Any]) -> None:
        console.print(Text(f"read {done['read']}, imported {done['imported']}, already there {done['already_there']}"))
        for row in done["refused"]:
            console.print(Text(f"line {row['line']}: {row['reason']}", style="red"))

    emit(document, as_json=as_json, human=human)
    if document["refused"]:
        raise typer.Exit(1)


@app.command("compare")
def compare(
    directory: Directory,
    file: ExportFile,
    format_: ExportFormat = None,
    map_file: MapFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Which complaints are only in the old system: an export of it against this node. Exit 0 when none is."""
    from node.wiring import node_work as wiring

    with import_progress(f"comparing {file.name}") as show:
        work = wiring.compare_file(directory, file, format_name=format_, map_file=map_file, progress=show)
        document = run(work, as_json=as_json)
    emit(document, as_json=as_json, human=_show_comparison)
    if document["only_there_count"] or document["unreadable"]:
        raise typer.Exit(1)


def _show_comparison(document: dict[str, Any]) -> None:
    count = document["only_there_count"]
    console.print(Text(f"read {document['read']}, here {document['here']}, only in the old system {count}"))
    for one in document["only_there"]:
        console.print(Text(f"{one['system']} {one['id']}", style="red"))
    for row in document["unreadable"]:
        console.print(Text(f"line {row['line']}: {row['reason']}", style="red"))
    if count:
        console.print(Text("Next: simpul node import, then compare again. At 0 the old system may be switched off."))


@app.command("due")
def due(
    directory: Directory,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Complaints of each kind.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """What is overdue, the longest first, then what is due within two days."""
    from node.wiring import node_store as wiring

    emit(run(wiring.what_is_due(directory, limit), as_json=as_json), as_json=as_json, human=_show_due)


def _show_due(document: dict[str, Any]) -> None:
    for which, title, style in (("overdue", "Terlambat / overdue", "red"), ("soon", "Segera / soon due", "yellow")):
        more = "+" if document[f"more_{which}"] else ""
        console.print(Text(f"{title}: {len(document[which])}{more}", style=style))
        for one in document[which]:
            unit = one["unit"] or "-"
            console.print(
                Text(f"  {one['due_at'][:16]}  {one['duty']:<12}  {one['state']:<12}  {unit}  {one['tracking']}")
            )


@app.command("sweep")
def sweep(directory: Directory, as_json: JsonFlag = False) -> None:
    """Close what its reporter left without reply, once; `serve` does it by itself. For cron, where nothing serves."""
    from node.wiring import node_work as wiring

    document = run(wiring.sweep(directory), as_json=as_json)
    emit(
        document,
        as_json=as_json,
        human=lambda d: console.print(
            Text(f"{d['closed']} complaint(s) closed." if d["closes"] else "close_by_itself is off: nothing is closed.")
        ),
    )


@app.command("push")
def push(
    directory: Directory,
    until_drained: Annotated[bool, typer.Option("--until-drained", help="Go on until nothing is left.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds.")] = 60,
    as_json: JsonFlag = False,
) -> None:
    """Push once, without serving. Hub away, or (--until-drained) something left in the end: exit 3; halted: exit 1."""
    from node.wiring import local as wiring

    document = run(wiring.push(directory, until_drained=until_drained, timeout_s=timeout), as_json=as_json)
    emit(document, as_json=as_json, human=_show_status)
    if document["pusher"] == "halted":
        raise typer.Exit(1)
    if not document["reached"]:
        stderr.print(
            Text(
                "The hub could not be reached in time. Nothing is lost; try again or leave `simpul node serve` running."
            )
        )
        raise typer.Exit(3)
    if until_drained and not document["drained"]:
        left = document["unsent"] + document["unacknowledged"]
        stderr.print(Text(f"Not everything went out in time: {left} change(s) are left. Nothing is lost; try again."))
        raise typer.Exit(3)


@app.command("inbox")
def inbox(directory: Directory, as_json: JsonFlag = False) -> None:
    """Take in what the hub tells (`serve` does so by itself); show what is offered here, and what the log refused."""
    from node.wiring import node_work as wiring

    document = run(wiring.read_inbox(directory), as_json=as_json)
    emit(document, as_json=as_json, human=_show_inbox)


def _show_inbox(document: dict[str, Any]) -> None:
    console.print(Text(f"{document['told']} item(s) taken in."))
    for one in document["offered"]:
        console.print(Text(f"offered by {one['owner']}: {one['complaint']}  {one['tracking']}  offer {one['offer']}"))
    for one in document["refused"]:
        console.print(Text(f"! refused ({one['verdict']}): {one['complaint']}, change {one['change']}", style="red"))
    if document["offered"]:
        next_step = (
            "Next: accept or decline each with POST /v1/complaints/{complaint}/changes (type accepted or declined)."
        )
        console.print(Text(next_step))


@app.command("recover")
def recover(
    directory: Directory,
    take_over: Annotated[bool, typer.Option("--take-over", help="This copy is the only one from now on.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Refill this node from the hub after an old backup, or where only simpul.toml and keys/ are left; clear a halt."""
    from node.wiring import local as wiring

    document = run(wiring.recover(directory, take_over=take_over), as_json=as_json)
    emit(document, as_json=as_json, human=lambda d: console.print(Text(str(d["explanation"]))))


@app.command("receipt")
def receipt(
    directory: Directory,
    complaint: Annotated[str, typer.Argument(metavar="COMPLAINT", help="Complaint id or tracking number.")],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
    as_json: JsonFlag = False,
) -> None:
    """For the citizen: every line of the complaint with its proofs, in one file that `simpul audit receipt` checks."""
    _write_excerpt(directory, complaint, out, with_content=True, as_json=as_json)


@app.command("excerpt")
def excerpt(
    directory: Directory,
    complaint: Annotated[str, typer.Argument(metavar="COMPLAINT", help="Complaint id or tracking number.")],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
    with_content: Annotated[bool, typer.Option("--with-content", help="What was said, too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """For another authority: the complaint's change lines with their proofs, what was said only on request."""
    _write_excerpt(directory, complaint, out, with_content=with_content, as_json=as_json)


def _write_excerpt(directory: Path, complaint: str, out: Path, *, with_content: bool, as_json: bool) -> None:
    from node.wiring import node_work as wiring

    document = run(wiring.write_excerpt(directory, complaint, out, with_content=with_content), as_json=as_json)
    emit(
        document,
        as_json=as_json,
        human=lambda d: console.print(
            Text(f"{d['lines']} lines of {d['complaint']} in {out}.\nCheck: simpul audit receipt {out}")
        ),
    )
