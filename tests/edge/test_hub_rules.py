"""Rules change by the settings: what differs at a start goes into the log, once (protocol §5.2)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from node.hub.statements import RulesDraft
from node.wiring.hub_parts import opened_hub
from sync_protocol.values import AgencyId, Digest
from tests.edge.hub_lab import RULES, LabClock, LabRandomness, options_for, running_hub
from tests.edge.whole_way import HubDirectory, end

CHANGED = [
    replace(RULES, bounce_limit=5),
    replace(RULES, silence_s=60),
    replace(RULES, desk=AgencyId("33.75")),
    replace(RULES, deadlines=Digest(sha256(b"other").digest())),
    replace(RULES, calendar=Digest(sha256(b"other").digest())),
]


async def ensure(tmp_path: Path, draft: RulesDraft, clock: LabClock) -> int:
    """As a start does, a while later; the log's size afterwards."""
    clock.at_ms += 1_000
    async with opened_hub(options_for(tmp_path), clock=clock, randomness=LabRandomness(2)) as hub:
        await hub.ensure_rules(draft)
        assert hub.statements.are_in_force(draft)
        return hub.log.size


@pytest.mark.parametrize("draft", CHANGED, ids=["bounce", "silence", "desk", "deadlines", "calendar"])
async def test_a_changed_rule_is_appended_once_and_holds_from_there(draft: RulesDraft, tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        assert lab.hub.log.size == 3
    sizes = [await ensure(tmp_path, rules, lab.clock) for rules in (RULES, draft, draft, RULES, RULES)]
    assert sizes == [3, 4, 4, 5, 5]
    async with opened_hub(options_for(tmp_path), clock=lab.clock, randomness=LabRandomness(2)) as hub:
        before, after = hub.log.roster.rules_at(2), hub.log.roster.rules_at(3)
        assert before is not None
        assert after is not None
        assert (before.bounce_limit, before.desk) == (RULES.bounce_limit, RULES.desk)
        assert (after.bounce_limit, after.desk) == (draft.bounce_limit, draft.desk)


async def test_a_hub_that_may_not_sign_starts_with_the_rules_it_has(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        pass
    async with opened_hub(options_for(tmp_path), clock=lab.clock, randomness=LabRandomness(2)) as hub:
        hub.log.recovering = "the database is older than the lock"
        assert await hub.ensure_rules(CHANGED[0]) is None
        assert hub.log.size == 3


def test_two_starts_of_the_program_append_nothing_and_a_new_setting_does(tmp_path: Path) -> None:
    hub = HubDirectory.make(tmp_path / "hub")
    for _ in range(2):
        hub.serve()
        assert hub.size == 3
        end(hub.server)
    settings = hub.directory / "simpul.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + "\nbounce_limit = 7\n", encoding="utf-8")
    for _ in range(2):
        server = hub.serve()
        assert hub.size == 4
        assert server.said().count("new rules") <= 1
        end(server)
    assert hub.audit_export(tmp_path / "export")["ok"] is True
