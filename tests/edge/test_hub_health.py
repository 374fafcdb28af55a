"""A hub's health is that what comes in is published and folded, not that its process runs (G9)."""

from __future__ import annotations

from pathlib import Path

from node.wiring.hub_parts import opened_hub
from tests.edge.hub_lab import LabRandomness, options_for, projected, running_hub
from tests.edge.test_hub_crashes import cut_at

HOUR_MS = 3_600_000


async def test_a_hub_that_publishes_and_folds_is_healthy_and_says_how_fresh_it_is(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        await projected(lab)
        lab.clock.at_ms += HOUR_MS
        answer = await lab.call("GET", "/healthz")
        assert answer.status == 200
        assert answer.json == {
            "ok": True,
            "size": 3,
            "projected_to": 3,
            "waiting": 0,
            "published_age_s": 3_600.0,
            "projection_age_s": 0.0,
        }


async def test_a_hub_that_publishes_nothing_any_more_not_even_ticks_is_not_healthy(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        await projected(lab)
        lab.clock.at_ms += 3 * HOUR_MS
        answer = await lab.call("GET", "/healthz")
        assert (answer.status, answer.kind) == (503, "busy")
        assert "nothing was published for 10800 s" in answer.json["detail"]
        await lab.enrol("33.75")
        assert (await lab.call("GET", "/healthz")).status == 200


async def test_a_hub_whose_query_tables_stand_still_is_not_healthy_and_takes_sets_in_all_the_same(
    tmp_path: Path,
) -> None:
    async with running_hub(tmp_path, projector=False) as lab:
        agency = await lab.enrol("33.75")
        await agency.push_new(1)
        assert (await lab.call("GET", "/healthz")).status == 200
        lab.clock.at_ms += HOUR_MS
        answer = await lab.call("GET", "/healthz")
        assert (answer.status, answer.kind) == (503, "busy")
        assert "3600 s behind the log" in answer.json["detail"]
        assert (answer.json["ok"], answer.json["projected_to"], answer.json["size"]) == (False, 0, lab.hub.log.size)
        await agency.push_new(1)


async def test_a_hub_whose_log_cannot_be_written_is_not_healthy_until_anybody_makes_it_grow(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        async with cut_at(lab, "before append"):
            assert (await agency.push(agency.cut(1))).status == 503
        answer = await lab.call("GET", "/healthz")
        assert (answer.status, answer.kind) == (503, "busy")
        assert answer.json["detail"] == "the log cannot be written: PowerCut; it goes on by itself"
        async with opened_hub(options_for(tmp_path), clock=lab.clock, randomness=LabRandomness(9)) as another_process:
            await another_process.revoke(agency.code)
        await lab.hub.log.follow()
        assert (await lab.call("GET", "/healthz")).status == 200


async def test_the_document_says_what_health_answers(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        document = (await lab.call("GET", "/openapi.json")).json
        answer = (await lab.call("GET", "/healthz")).json
    said = document["paths"]["/healthz"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert said == {"$ref": "#/components/schemas/HubHealth"}
    assert document["components"]["schemas"]["HubHealth"]["properties"].keys() == answer.keys()
