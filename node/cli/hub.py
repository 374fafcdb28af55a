"""`simpul hub …`: the national hub's operator."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from node.cli.output import JsonFlag, console, emit, exit_code_of, explained, run, stderr
from node.cli.progress import entries_progress

#: What a code or a name of the command line is refused for.
WRITTEN_WRONG: Final = frozenset({"malformed", "unknown-agency"})

app = typer.Typer(help="The national hub.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The hub's directory.")]
Agency = Annotated[str, typer.Argument(metavar="AGENCY", help="Agency code, for example 33.75.")]


@app.command("init")
def init(
    directory: Directory,
    origin: Annotated[
        str, typer.Option("--origin", metavar="NAME", help="The log's name, for example hub.lapor.go.id/log.")
    ],
    database_url: Annotated[str | None, typer.Option("--database-url", help="Default: SQLite in DIR.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Create keys, log and databases of a new hub."""
    from node.wiring import hub as wiring

    document = run(wiring.init_hub(directory, origin=origin, database_url=database_url), as_json=as_json)

    def human(done: dict[str, Any]) -> None:
        console.print(Text(f"The hub {done['origin']} is ready in {directory}."))
        console.print(Text(f"Log key (give it to every agency and auditor):\n  {done['vkey']}"))
        console.print(Text(f"Next: simpul hub serve {directory}"))

    emit(document, as_json=as_json, human=human)


@app.command("serve")
def serve(
    directory: Directory,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default: 8700.")] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Share the work; about one for each core. Several need PostgreSQL.")
    ] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Serve the hub until SIGTERM or Ctrl-C."""
    from node.wiring import hub as wiring

    if processes == 1:
        run(wiring.serve_hub(directory, host=host, port=port), as_json=as_json)
        return
    from node.wiring.hub_processes import serve_in_processes

    def run_child(work: Coroutine[Any, Any, None]) -> int:
        return exit_code_of(work, as_json=as_json)

    with explained(as_json=as_json):
        code = serve_in_processes(directory, host=host, port=port, processes=processes, run=run_child)
    if code:
        raise typer.Exit(code)


@app.command("invite")
def invite(directory: Directory, agency: Agency, as_json: JsonFlag = False) -> None:
    """A one-time token with which an agency's node enrols."""
    from node.wiring import hub as wiring

    document = run(wiring.invite(directory, agency), as_json=as_json, usage=WRITTEN_WRONG)
    if document["warning"]:
        stderr.print(Text(document["warning"], style="yellow"))

    def human(done: dict[str, Any]) -> None:
        import segno

        console.print(Text(f"Token for {done['agency']} (shown once, works once):\n  {done['token']}"))
        console.print(Text(f"Log key:\n  {done['vkey']}"))
        segno.make(f"simpul-enrol:{done['agency']}?token={done['token']}&vkey={done['vkey']}").terminal(compact=True)
        console.print(
            Text("Next, on the agency's machine: simpul node enrol DIR --hub URL --vkey … --agency … --token …")
        )

    emit(document, as_json=as_json, human=human)


@app.command("revoke")
def revoke(
    directory: Directory,
    agency: Agency,
    kid: Annotated[str | None, typer.Option(help="Default: the key that speaks now.")] = None,
    disputed_from: Annotated[int, typer.Option(min=0, help="First sequence in doubt; nothing is undone.")] = 0,
    reason: Annotated[str, typer.Option(help="Reason code.")] = "unspecified",
    as_json: JsonFlag = False,
) -> None:
    """End an agency's key, for good."""
    from node.wiring import hub as wiring

    work = wiring.revoke(directory, agency, kid=kid, disputed_from=disputed_from, reason=reason)
    document = run(work, as_json=as_json, usage=WRITTEN_WRONG)
    emit(
        document,
        as_json=as_json,
        human=lambda d: console.print(Text(f"Key {d['kid']} of {agency} ended at log index {d['index']}.")),
    )


@app.command("status")
def status(directory: Directory, as_json: JsonFlag = False) -> None:
    """Log, agencies, freshness and troubles."""
    from node.wiring import hub as wiring

    emit(run(wiring.hub_status(directory), as_json=as_json), as_json=as_json, human=_show_status)


def _show_status(document: dict[str, Any]) -> None:
    log = document["log"]
    console.print(Text(f"Log: size {log['size']}, root {log['root']}, projected to {document['projected_to']}"))
    for trouble in document["troubles"]:
        console.print(Text(trouble, style="red"))
    table = Table("agency", "seq", "epoch", "last set, s ago", "lag", "troubles")
    for line in document["agencies"]:
        age = "never" if line["age_s"] is None else f"{line['age_s']:.0f}"
        troubles = Text("; ".join(str(trouble) for trouble in line["troubles"]), style="red")
        table.add_row(line["agency"], str(line["seq"]), str(line["epoch"]), age, str(line["lag"]), troubles)
    console.print(table)


@app.command("recover")
def recover(
    directory: Directory,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="COPY", help="An export, or the address of a mirror or hub with the same log."),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="SIMPUL_AUDIT_TOKEN", help="An auditor's, for sets of an address.")
    ] = None,
    ca_file: Annotated[Path | None, typer.Option("--ca-file", help="Certificates to trust instead.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Take back the log that this hub signed: from what nodes brought, and from a copy."""
    from node.wiring import hub_recovery as wiring

    document = run(wiring.recover(directory, source=source, token=token, ca_file=ca_file), as_json=as_json)

    def human(done: dict[str, Any]) -> None:
        state = "The log is whole and signs again" if done["recovered"] else "Still recovering"
        console.print(Text(f"{state}: size {done['size']}, before {done['size_before']}."))
        for trouble in done["troubles"]:
            console.print(Text(trouble, style="red"))

    emit(document, as_json=as_json, human=human)
    if not document["recovered"]:
        raise typer.Exit(1)


@app.command("rebuild")
def rebuild(directory: Directory, as_json: JsonFlag = False) -> None:
    """Drop the projection and fold the whole log again; the state hash must come back the same.

    A damaged file is put aside first, and there is no hash before.
    """
    from node.wiring import hub as wiring

    with entries_progress("folding again") as show:
        document = run(wiring.rebuild(directory, progress=show), as_json=as_json)
    same = document["aside"] is not None or document["before"] == document["after"]

    def human(done: dict[str, Any]) -> None:
        if done["aside"] is not None:
            console.print(Text(f"The damaged file lies in {done['aside']}; the whole log is folded anew."))
            console.print(Text(f"after  {done['after']}"))
            return
        console.print(Text(f"before {done['before']}\nafter  {done['after']}\n" + ("equal" if same else "DIFFERENT")))

    emit(document, as_json=as_json, human=human)
    if not same:
        raise typer.Exit(1)


@app.command("grant")
def grant(
    directory: Directory,
    role: Annotated[str, typer.Argument(metavar="auditor")],
    name: Annotated[str, typer.Argument(metavar="NAME")],
    with_content: Annotated[bool, typer.Option("--with-content", help="May read content lines; recorded.")] = False,
    revoke_grant: Annotated[bool, typer.Option("--revoke", help="End the tokens of that name.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """A revocable token for an auditor, shown once, kept hashed."""
    from node.wiring import hub as wiring

    work = wiring.grant(directory, role=role, name=name, with_content=with_content, revoke=revoke_grant)
    document = run(work, as_json=as_json, usage=WRITTEN_WRONG)
    text = (
        f"Tokens of {name} are ended."
        if revoke_grant
        else f"Token for auditor {name} (shown once):\n  {document.get('token')}"
    )
    emit(document, as_json=as_json, human=lambda _: console.print(Text(text)))


@app.command("export")
def export(
    directory: Directory,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that does not exist yet, or is empty.")],
    with_content: Annotated[bool, typer.Option("--with-content", help="Content lines too; recorded.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Everything an auditor needs, as files."""
    from node.wiring import hub as wiring

    with entries_progress(f"exporting to {out.name}") as show:
        document = run(wiring.export(directory, out, with_content=with_content, progress=show), as_json=as_json)
    emit(
        document,
        as_json=as_json,
        human=lambda d: console.print(
            Text(
                f"Exported log size {d['size']} with {d['change_sets']} change sets to {out}.\nNext: simpul audit {out}"
            )
        ),
    )
