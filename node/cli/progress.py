"""Progress on stderr: a bar where a person looks, nothing where nobody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from node.cli.output import stderr

if TYPE_CHECKING:
    from node.local.import_service import ImportTotals


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


@contextmanager
def import_progress(name: str, console: Console = stderr) -> Iterator[Callable[[ImportTotals], None]]:
    """A callback for ImportRun that draws how far the file is read and what came of it."""
    with _bar(console) as bar:
        task = bar.add_task(name, total=1.0)

        def show(totals: ImportTotals) -> None:
            words = f"{name}: {totals.imported} new, {totals.already_there} known, {totals.refused_count} refused"
            bar.update(task, completed=totals.fraction, description=words)

        yield show


@contextmanager
def entries_progress(name: str, console: Console = stderr) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, in all) for what walks along a log."""
    with _bar(console) as bar:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show
