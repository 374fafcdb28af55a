"""How a command speaks: one JSON document on stdout, or plain words; progress, logs and errors on stderr.

An error is one sentence with the next step. Exit codes (docs/operations.md): 0 fine · 1 a check found something wrong ·
2 wrong usage or configuration · 3 the other side cannot be reached.
"""

from __future__ import annotations

import asyncio
import errno
import json
import sqlite3
import sys
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from node.store.sqlite_copy import tells_of_damage
from sync_protocol.errors import Corrupt, Refused, SimpulError, Unavailable

EXIT_FOUND_WRONG = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

#: Refusals that are about what was typed or configured, whichever command they end.
USAGE_KINDS: Final = frozenset({"configuration", "unsafe-key-file", "not-desk", "bad-token"})
_CORRECT: Final = "Correct what is named and try again."
_HINTS: Final = {
    "bad-token": "Copy the token whole, with the agency of its invitation; if it was used or is old, ask for another.",
    "unauthorised": "Give a token that `simpul hub grant DIR auditor NAME` showed and nobody has ended.",
    "unknown-agency": "See `simpul hub status DIR` for the agencies that are enrolled.",
}

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]

console = Console()
stderr = Console(stderr=True)
T = TypeVar("T")


class UsageProblem(SimpulError):
    """The command or its configuration is wrong; `next_step` says what to do."""

    def __init__(self, sentence: str, next_step: str) -> None:
        super().__init__(sentence)
        self.detail = sentence
        self.next_step = next_step


@dataclass(frozen=True)
class Failure:
    """What a person or a script is told when a command ends badly."""

    exit_code: int
    kind: str
    sentence: str
    next_step: str


def print_json(document: object) -> None:
    """The one JSON document of a command, on stdout."""
    try:
        text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode("utf-8")
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal that is not UTF-8, a file's name that is no text: escaped
        text = json.dumps(msgspec.to_builtins(document), indent=2)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def emit(document: T, *, as_json: bool, human: Callable[[T], None]) -> None:
    """Either the JSON document or its form for people; where it cannot be written, that is said on stderr."""
    try:
        if as_json:
            print_json(document)
        else:
            human(document)
            sys.stdout.flush()
    except BrokenPipeError:
        raise  # whoever read it has enough
    except OSError as error:
        failure = _explain_os_error(error)
        if failure is None:
            raise
        fail(failure, as_json=False)


def explain(error: BaseException, usage: Collection[str] = ()) -> Failure | None:
    """The failure that an error of ours, of the disk or of the database means; None for a defect of the program.

    `usage`: the refusals that this command knows to be about its own words.
    """
    next_step = str(getattr(error, "next_step", "") or "")
    if isinstance(error, UsageProblem):
        return Failure(EXIT_USAGE, "usage", error.detail, next_step)
    if isinstance(error, Unavailable):
        hint = next_step or "Check the address, the network and whether the other side runs; then try again."
        return Failure(EXIT_UNREACHABLE, "unreachable", error.detail, hint)
    if isinstance(error, Refused):
        is_usage = error.kind in USAGE_KINDS or error.kind in usage
        usual = _HINTS.get(error.kind, _CORRECT) if is_usage else _CORRECT
        hint = next_step or str(error.members.get("next", "")) or usual
        code = EXIT_USAGE if is_usage else EXIT_FOUND_WRONG
        return Failure(code, error.kind, str(error), hint)
    if isinstance(error, Corrupt):
        return Failure(EXIT_FOUND_WRONG, "corrupt", error.detail, error.next_step)
    if isinstance(error, SimpulError):
        hint = next_step or "Nothing is lost. Try again; if it stays, see docs/operations.md, 'Troubles'."
        return Failure(EXIT_FOUND_WRONG, type(error).__name__.lower(), str(error), hint)
    if _is_of_database(error):
        said = getattr(error, "orig", error)
        return _explain_database(str(said), next(iter(getattr(said, "__notes__", ())), ""))
    if isinstance(error, OSError):
        return _explain_os_error(error)
    return None


def _is_of_database(error: BaseException) -> bool:
    """Told by name where the library is concerned: importing it would cost every command half a second."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    of_driver = type(error).__module__.startswith("asyncpg.")
    return isinstance(error, sqlite3.DatabaseError) or "sqlalchemy.exc.DBAPIError" in kinds or of_driver


def _explain_database(words: str, file: str) -> Failure:
    """`file` is the note that our stores leave (node/store/sqlite_copy.py), if any."""
    words = words.partition("\n")[0]  # PostgreSQL adds the values that it did not like on a line of their own
    if "connection" in words or "shutting down" in words or "starting up" in words:
        step = "See whether the database server runs, then try again. Nothing was lost."
        return Failure(EXIT_UNREACHABLE, "unreachable", f"The database server went away: {words}.", step)
    if "full" in words or "No space left" in words:
        return Failure(
            1, "disk-full", f"The disk is full: {words}.", "Free some space and start again; nothing was lost."
        )
    if "disk I/O" in words:
        step = "Look for a full or failing disk, or a limit on file sizes; then start again. Nothing was lost."
        return Failure(1, "disk", f"The disk cannot be written or read: {words}.", step)
    if tells_of_damage(words):
        step = (
            "Stop, keep the file, and restore the newest backup; query tables of a hub need none: simpul hub rebuild"
            " (docs/operations.md, 'A damaged database')."
        )
        return Failure(1, "damaged-database", f"The database is damaged: {words}{file and f' {file}'}.", step)
    if "readonly" in words or "unable to open" in words:
        step = "Check the folder and its permissions, and whether its disk is full or was mounted read-only."
        return Failure(2, "database", f"The database cannot be opened: {words}.", step)
    return Failure(1, "database", f"The database answered: {words}.", "See docs/operations.md, 'Troubles'.")


def _explain_os_error(error: OSError) -> Failure | None:
    if error.errno == errno.EADDRINUSE:
        return Failure(
            2, "port-in-use", "That port is in use already.", "Stop the other program or choose another --port."
        )
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Failure(1, "disk-full", "The disk is full.", "Free some space and start again; nothing was lost.")
    if error.errno == errno.EROFS:
        step = "A disk turns read-only when it fails: see the system's log, repair and mount it; nothing was lost."
        return Failure(1, "disk", f"The disk is read-only: {error.filename}", step)
    if error.errno in {errno.EIO, errno.EFBIG}:
        step = "Look for a failing disk, or a limit on file sizes; then start again. Nothing was lost."
        return Failure(1, "disk", f"The disk cannot be written or read: {error.strerror}.", step)
    if isinstance(error, (FileNotFoundError, PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)):
        return Failure(2, "file", f"{error.strerror}: {error.filename}", "Check the path and its permissions.")
    if isinstance(error, ConnectionError):
        return Failure(3, "unreachable", f"The connection failed: {error}", "Check the address and the network.")
    return None


def fail(failure: Failure, *, as_json: bool) -> NoReturn:
    """Says what went wrong and ends the command with its exit code."""
    if as_json:
        error = {"kind": failure.kind, "detail": failure.sentence, "next": failure.next_step}
        print_json({"ok": False, "error": error})
    stderr.print(Text(failure.sentence, style="bold red"))
    if failure.next_step:
        stderr.print(Text(failure.next_step))
    raise typer.Exit(failure.exit_code)


@contextmanager
def explained(*, as_json: bool = False, usage: Collection[str] = ()) -> Iterator[None]:
    """What ends a command badly in here becomes one sentence, a next step and an exit code (`usage`: see explain)."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        failure = explain(error, usage)
        if failure is None:
            raise
        fail(failure, as_json=as_json)


def run(work: Coroutine[Any, Any, T], *, as_json: bool = False, usage: Collection[str] = ()) -> T:
    """Runs a command's coroutine, explained."""
    with explained(as_json=as_json, usage=usage):
        return asyncio.run(work)


def exit_code_of(work: Coroutine[Any, Any, None], *, as_json: bool = False) -> int:
    """Runs it, says what ended it badly, and gives the exit code instead of raising it."""
    try:
        run(work, as_json=as_json)
    except typer.Exit as left:
        return left.exit_code
    return 0
