"""What a person sees of the demonstration: a live table on stderr, and a summary at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_REDRAWS_PER_SECOND = 4


@dataclass(slots=True)
class AgencyLine:
    """One local node at one moment. `total` is how many complaints it will have been dealt."""

    code: str
    name: str
    total: int = 0
    complaints: int = 0
    changes: int = 0
    unsent: int = 0
    pusher: str = "starting"
    link_whole: bool = True
    troubles: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Scene:
    """The whole demonstration at one moment."""

    phase: str = "starting"
    agencies: list[AgencyLine] = field(default_factory=list)
    log_size: int = 0
    change_sets: int = 0
    story: list[str] = field(default_factory=list)


class Stage:
    """Shows a scene while it plays; where stderr is no terminal, only the story, line by line."""

    def __init__(self, console: Console, scene: Scene) -> None:
        self._console = console
        self._scene = scene
        self._live = Live(
            get_renderable=self._picture,
            console=console,
            refresh_per_second=_REDRAWS_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def tell(self, sentence: str) -> None:
        """The next thing that happens."""
        self._scene.phase = sentence
        self._scene.story.append(sentence)
        self._console.print(Text(f"· {sentence}"))

    def _picture(self) -> Group:
        scene = self._scene
        table = Table("agency", "", "complaints", "", "changes", "not at the hub yet", "pusher", "link", expand=False)
        for line in scene.agencies:
            link = Text("whole", style="green") if line.link_whole else Text("CUT", style="bold red")
            bar = ProgressBar(total=max(1, line.total), completed=line.complaints, width=16)
            waiting = Text(str(line.unsent), style="yellow" if line.unsent else "green")
            counts = (str(line.complaints), bar, str(line.changes), waiting)
            table.add_row(line.code, line.name, *counts, line.pusher, link)
        hub = Text(f"hub: log size {scene.log_size}, {scene.change_sets} change sets with receipt")
        return Group(table, hub, Text(scene.phase, style="bold"))


def show_summary(console: Console, document: Mapping[str, Any], agencies: Sequence[AgencyLine]) -> None:
    """The end of the story in a few lines."""
    audit = document["audit"]
    table = Table("agency", "", "complaints", "changes", title="Everything is at the hub, with receipts")
    for line in agencies:
        table.add_row(line.code, line.name, str(line.complaints), str(line.changes))
    console.print(table)
    console.print(
        Text(
            f"{document['complaints']} complaints of {document['agencies']} agencies: {document['changes']} changes in "
            f"{document['change_sets']} signed change sets, in {document['seconds']:.1f} s."
        )
    )
    states = ", ".join(f"{state} {count}" for state, count in sorted(audit["by_state"].items()))
    console.print(Text(f"By state: {states}."))
    verdict = "The audit found nothing wrong." if audit["ok"] else "THE AUDIT FOUND SOMETHING WRONG."
    console.print(Text(f"{verdict} Log size {audit['log']['size']}, state hash {audit['state_hash']}."))
    for finding in audit["findings"]:
        console.print(Text(f"  {finding}", style="bold red"))


def show_addresses(console: Console, hub: str, nodes: Mapping[str, str], home: Path) -> None:
    """Where everything listens, for a demonstration that stays up."""
    console.print(Text(f"The hub:   {hub}/v1/hub"))
    for code, address in nodes.items():
        console.print(Text(f"{code:>9}: {address}"))
    console.print(Text(f"Their directories are in {home}; a token for an intake: simpul node token create DIR NAME"))
    console.print(Text("Everything stays up until Ctrl-C."))
