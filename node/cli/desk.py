"""`simpul node escalations, recall, direct`: the national desk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from node.cli.output import EXIT_FOUND_WRONG, EXIT_UNREACHABLE, JsonFlag, console, emit, run, stderr

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The desk's directory.")]
Complaint = Annotated[
    str, typer.Argument(metavar="COMPLAINT", help="Complaint id, or the tracking number that `escalations` shows.")
]
Note = Annotated[str | None, typer.Option("--note", help="Words for the agencies concerned.")]
#: What an agency, a reason or a note of the command line is refused for.
WRITTEN_WRONG: Final = frozenset({"malformed", "too-large"})
TABLE_COLUMNS: Final = 200  # a number that is cut or broken cannot be copied; a narrow terminal breaks the whole line
_STATUS: Final = {
    "verified": ("terbukti / verified", "green"),
    "not_verified": ("TIDAK TERBUKTI / NOT VERIFIED", "bold red"),
    "waiting": ("menunggu / waiting", "yellow"),
}
_GROUND: Final = {"bounced": "declined too often", "silent": "owner silent", None: "not yet"}


def escalations(
    directory: Directory,
    limit: Annotated[int, typer.Option(min=1, max=2_000, help="Escalations shown.")] = 50,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", metavar="FOLDER", file_okay=False, help="Write their evidence bundles there."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """What is overdue at other agencies, the longest first, with its evidence; `serve` looks by itself. Desk only."""
    from node.wiring import desk as wiring

    document = run(wiring.escalations(directory, limit=limit, evidence=evidence), as_json=as_json)
    emit(document, as_json=as_json, human=_show)
    if not document["reached"]:
        stderr.print(
            Text("The hub could not be asked: this is the list of the newest look. Nothing is lost; try again.")
        )
        raise typer.Exit(EXIT_UNREACHABLE)
    if is_doubted(document):
        raise typer.Exit(EXIT_FOUND_WRONG)


def is_doubted(document: dict[str, Any]) -> bool:
    """Whether evidence did not hold and none that does has come since; or a bundle that was written does not hold."""
    findings = [one for one in document["items"] if one["finding"] is not None]
    return any(one["finding"]["cleared_at"] is None for one in findings) or not all(
        one["verified"] for one in document.get("written", [])
    )


def _show(document: dict[str, Any]) -> None:
    more = "+" if document["more"] else ""
    since = document["looked_at"] or "never"
    console.print(Text(f"Eskalasi / escalations: {document['count']}{more}, as of {since}"))
    if document["trouble"]:
        console.print(Text(f"! {document['failed_at']}: {document['trouble']}", style="red"))
    if document["items"]:
        table = Table(box=None, pad_edge=False)
        for name in ("due", "duty", "owner", "complaint", "noticed", "recall", "evidence"):
            table.add_column(name, no_wrap=True)
        for one in document["items"]:
            table.add_row(*_row(one))
        Console(width=max(console.width, TABLE_COLUMNS)).print(table)
    for one in document["items"]:
        for word in findings_of(one):
            console.print(Text(word, style="red"))
    for one in document.get("written", []):
        console.print(
            Text(f"written: {one['file']}" + ("" if one["verified"] else f"  NOT VERIFIED: {one['finding']}"))
        )
    if document["items"]:
        console.print(
            Text("Next: simpul node recall DIR COMPLAINT, then simpul node direct DIR COMPLAINT --to AGENCY.")
        )


def _row(one: dict[str, Any]) -> tuple[Text, ...]:
    """Texts, so that nothing in them is taken for markup."""
    words, style = _STATUS[one["evidence"]["status"]]
    name = one["tracking"] or one["complaint"]
    cells = (one["due_at"][:16], one["duty"], one["owner"], name, one["noticed_at"][:16], _GROUND[one["recall"]])
    return (*map(Text, cells), Text(words, style=style))


def findings_of(one: dict[str, Any]) -> list[str]:
    """What does not hold, or did not hold at some time while it was listed."""
    finding = one["finding"]
    if finding is None:
        return []
    when = "" if finding["cleared_at"] is None else " (verified evidence came later)"
    return [f"! {one['complaint']}: evidence of {finding['at']} does not hold: {finding['detail']}{when}"]


def recall(
    directory: Directory,
    complaint: Complaint,
    reason: Annotated[str, typer.Option("--reason", metavar="CODE", help="Why.")] = "overdue",
    note: Note = None,
    as_json: JsonFlag = False,
) -> None:
    """Take a complaint from its owner: possible once it was declined too often, or its owner is silent. Desk only."""
    from node.wiring import desk as wiring

    work = wiring.recall(directory, complaint, reason=reason, note=note)
    document = run(work, as_json=as_json, usage=WRITTEN_WRONG)
    emit(
        document,
        as_json=as_json,
        human=lambda d: _say(d, f"simpul node direct {directory} {d['complaint']} --to AGENCY"),
    )


def direct(
    directory: Directory,
    complaint: Complaint,
    to: Annotated[str, typer.Option("--to", metavar="AGENCY", help="Whose it is from then on, without being asked.")],
    reason: Annotated[str, typer.Option("--reason", metavar="CODE", help="Why.")] = "jurisdiction",
    note: Note = None,
    as_json: JsonFlag = False,
) -> None:
    """Give a complaint of the desk's own to the agency that is responsible. Desk only."""
    from node.wiring import desk as wiring

    work = wiring.direct(directory, complaint, to=to, reason=reason, note=note)
    document = run(work, as_json=as_json, usage=WRITTEN_WRONG)
    emit(document, as_json=as_json, human=lambda d: _say(d, f"simpul node push {directory} --until-drained"))


def _say(recorded: dict[str, Any], then: str) -> None:
    console.print(Text(f"{recorded['complaint']}: {recorded['type']} recorded; `serve` or the next push sends it."))
    console.print(Text(f"Next: {then}"))
