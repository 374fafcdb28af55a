"""`docs/lifecycle.md`, written from the transition table, so that the picture cannot differ from the fold (protocol
§9.4).
"""

from collections.abc import Iterator
from typing import Final

from sync_protocol.transitions import OPEN, TRANSITIONS, State, Target, Transition, Verdict

# Where a return state can lead: whatever can have been left; an imported complaint falls back to the first of them.
_RETURNS: Final = {
    Target.RETURN: TRANSITIONS["information_requested"].from_states,
    Target.HOLD_RETURN: TRANSITIONS["held"].from_states,
}
_HEAD: Final = """# Life of a complaint

Written by `python -m tests.protocol.write_lifecycle` from `sync_protocol/transitions.py`; a test compares. The
normative text is [protocol.md](protocol.md) §9.

"""


def lifecycle_page() -> str:
    """The whole page, as Markdown with one mermaid diagram and three tables."""
    return "\n".join([_HEAD.rstrip("\n"), "", *_diagram(), "", *_table(), "", *_codes()]) + "\n"


def _diagram() -> Iterator[str]:
    """Arrows between states; what changes no state stands in the table only."""
    yield "## States"
    yield ""
    yield "```mermaid"
    yield "stateDiagram-v2"
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in TRANSITIONS.values():
        for source in row.from_states:
            for target in _targets(row):
                arrows.setdefault((_node(source), _node(target)), []).append(row.type)
    for (source_node, target_node), types in sorted(arrows.items()):
        yield f"    {source_node} --> {target_node}: {', '.join(types)}"
    yield "```"


def _targets(row: Transition) -> tuple[State, ...]:
    if isinstance(row.to, State):
        return (row.to,)
    if row.to is Target.NAMED:
        return tuple(state for state in State if state is not State.NONE)
    return _RETURNS.get(row.to, ())


def _node(state: State) -> str:
    return "[*]" if state is State.NONE else state.label


def _table() -> Iterator[str]:
    yield "## Types of change"
    yield ""
    yield "| type | by | from | to | needs |"
    yield "|---|---|---|---|---|"
    for row in TRANSITIONS.values():
        to = row.to.label if isinstance(row.to, State) else row.to.value
        yield f"| `{row.type}` | {row.by.value} | {_from(row)} | {to} | {_needs(row)} |"


def _from(row: Transition) -> str:
    if row.answers_offer:
        return "under offer"
    if row.from_states == OPEN:
        return "open"
    if len(row.from_states) > len(OPEN):
        return "any"
    return ", ".join(state.label for state in row.from_states)


def _needs(row: Transition) -> str:
    needs = []
    if row.answers_offer:
        needs.append("the leaf hash of the pending offer")
    if row.sends:
        needs.append("an enrolled agency in `to` that is not the owner")
    if row.type == "recalled":
        needs.append("bounces at the limit, or a silent owner")
    return "; ".join(needs)


def _codes() -> Iterator[str]:
    yield "## Codes"
    yield ""
    yield "States: " + " · ".join(f"{state.value} {state.label}" for state in State)
    yield ""
    yield "Verdicts, in the order in which they are tried: " + " · ".join(
        f"{verdict.value} {verdict.label}" for verdict in Verdict
    )
