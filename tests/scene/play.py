"""The scene from the founding of the hub to the audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from node.directory import load_directory
from sync_protocol.evidence import ProvenChange
from sync_protocol.values import AgencyId
from tests.scene.auditing import Audited, audit
from tests.scene.cast import Country, country
from tests.scene.checks import check_that_all_agree, check_the_audit, deliver_everything_again, delivered
from tests.scene.script import Script
from tests.scene.story import Story


async def play(place: Path, story: Story) -> dict[str, Any]:
    """Plays it in an empty folder; what came of it, as JSON. Raises AssertionError if anything does not hold."""
    async with country(place) as played:
        script = Script(played, story)
        await script.play()
        await deliver_everything_again(played)
        proven = await check_that_all_agree(played, script)
        audited = await audit(played.lab, place / "export", script.complaint, played.deadlines)
        check_the_audit(audited, script)
        return _document(played, script, proven, audited)


def _document(played: Country, script: Script, proven: list[ProvenChange], audited: Audited) -> dict[str, Any]:
    """Everything about the complaint is what the auditor recomputed."""
    state = audited.book.state
    assert state is not None
    return {
        "ok": True,
        "complaint": {
            "complaint": script.complaint,
            "tracking": script.number,
            "owner": state.owner,
            "owner_name": load_directory()[AgencyId(state.owner)].name,
            "state": state.state.label,
            "closed_by": state.closed_by,
            "rating": state.rating,
            "bounces": state.bounces,
            "history": [
                {"at": one.change.at, "agency": one.agency, "type": one.change.type, "index": one.index}
                for one in proven
            ],
        },
        "deadlines": [
            {"after": one.change.type, "due_at": due_at, "duty": duty}
            for one in proven
            for due_at, duty in [audited.book.due[one.change.id]]
        ],
        "delivered": {
            kind: {"messages": count.messages, "deliveries": count.deliveries}
            for kind, count in delivered(played).items()
        },
        "audit": dict(audited.report),
        "audit_deadlines": msgspec.to_builtins(audited.deadlines),
    }
