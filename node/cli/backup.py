"""`simpul node|hub backup` and `restore`: a directory saved while it is served, and put back elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from node.cli.output import JsonFlag, UsageProblem, console, emit, explained, run
from node.cli.progress import entries_progress

VARIABLE: Final = "SIMPUL_BACKUP_PASSPHRASE"

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory to save.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the backup.")]
Archive = Annotated[Path, typer.Argument(metavar="OUT", help="The folder that `backup` wrote.", exists=True)]
NewDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="A new directory; nothing is written over.")]
WithKeys = Annotated[
    bool, typer.Option("--with-keys", help=f"Private keys too, encrypted: {VARIABLE}, or you are asked.")
]
WithoutKeys = Annotated[bool, typer.Option("--without-keys", help="Leave the keys of the backup out.")]

Work = Coroutine[Any, Any, dict[str, Any]]


def node_backup(directory: Directory, out: Out, with_keys: WithKeys = False, as_json: JsonFlag = False) -> None:
    """Save this node, also while it serves: settings, database, and keys on request. It holds what citizens said."""
    from node.wiring.backup import backup_node

    _backup(backup_node, directory, out, with_keys=with_keys, as_json=as_json)


def hub_backup(directory: Directory, out: Out, with_keys: WithKeys = False, as_json: JsonFlag = False) -> None:
    """Save this hub, also while it serves: settings, log, and keys on request; never the lock folder."""
    from node.wiring.backup import backup_hub

    _backup(backup_hub, directory, out, with_keys=with_keys, as_json=as_json)


def node_restore(
    archive: Archive, directory: NewDirectory, without_keys: WithoutKeys = False, as_json: JsonFlag = False
) -> None:
    """Make a node's directory from a backup, verified. It finds out by itself what it pushed afterwards."""
    from node.wiring.backup import holds_keys, restore_node

    _restore(
        restore_node,
        partial(holds_keys, archive, "node"),
        archive,
        directory,
        without_keys=without_keys,
        as_json=as_json,
    )


def hub_restore(
    archive: Archive,
    directory: NewDirectory,
    database_url: Annotated[
        str, typer.Option("--database-url", envvar="SIMPUL_DATABASE_URL", help="An empty one. Default: SQLite in DIR.")
    ] = "",
    without_keys: WithoutKeys = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a hub's directory from a backup, its log verified to the signed root; the lock folder is yours to bring."""
    from node.wiring.backup import holds_keys, restore_hub

    work = partial(restore_hub, database_url=database_url)
    _restore(work, partial(holds_keys, archive, "hub"), archive, directory, without_keys=without_keys, as_json=as_json)


def _backup(work: Callable[..., Work], directory: Path, out: Path, *, with_keys: bool, as_json: bool) -> None:
    with explained(as_json=as_json):
        passphrase = _passphrase(confirm=True) if with_keys else None
    with entries_progress(f"saving {directory.name}") as show:
        document = run(work(directory, out, passphrase=passphrase, progress=show), as_json=as_json)

    def human(done: dict[str, Any]) -> None:
        subject = done.get("agency") or done.get("origin")
        keys = "with its keys, encrypted" if done["keys"] else "without keys"
        console.print(Text(f"{subject} as of {done['created_at']}: {done['bytes']:,} bytes in {out}, {keys}."))
        if "log" in done:
            console.print(Text(f"Log: size {done['log']['size']}, root {done['log']['root']}"))
            console.print(Text("The lock folder is not in it, and never may be. Query tables are folded again."))
        beside = done["attachments"]
        if beside["files"]:
            words = f"{beside['files']:,} attached files ({beside['bytes']:,} bytes) are not in it"
            console.print(Text(f"{words}: copy {beside['directory']} as well (docs/operations.md, 'Files')."))
        for one in done["not_in_it"]:
            console.print(Text(f"{one['path']} ({one['setting']}) is not in it: keep a copy."), soft_wrap=True)
        console.print(Text(f"Next: take it to another machine. Back: simpul {done['kind']} restore {out} DIR"))

    emit(document, as_json=as_json, human=human)


def _restore(
    work: Callable[..., Work],
    holds_keys: Callable[[], bool],
    archive: Path,
    directory: Path,
    *,
    without_keys: bool,
    as_json: bool,
) -> None:
    with explained(as_json=as_json):  # nobody is asked for the passphrase of a folder that is no backup
        passphrase = _passphrase(confirm=False) if holds_keys() and not without_keys else None
    document = run(work(archive, directory, passphrase=passphrase), as_json=as_json)

    def human(done: dict[str, Any]) -> None:
        subject = done.get("agency") or done.get("origin")
        console.print(Text(f"{directory} is {subject} as of {done['created_at']}; every file and the database hold."))
        for number, step in enumerate(done["next"], start=1):
            console.print(Text(f"{number}. {step}"))

    emit(document, as_json=as_json, human=human)


def _passphrase(*, confirm: bool) -> str:
    """From the environment, or from whoever sits there."""
    given = os.environ.get(VARIABLE)
    if given is None and sys.stdin.isatty():
        given = str(typer.prompt("Passphrase of the backup", hide_input=True, confirmation_prompt=confirm, err=True))
    if not given:
        step = f"Give it in {VARIABLE} (twelve characters at least), or run this where you can be asked."
        if not confirm:
            step += " Or leave the keys out: --without-keys."
        raise UsageProblem("The private keys of a backup need a passphrase, and there is none.", step)
    return given
