"""Enrolment by one-time token, rotation and revocation at the hub (protocol §5, §7.1)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from keys import ceremony
from sync_protocol.jws import parse_jws
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.roster import Roster
from sync_protocol.statement import HeadRef
from sync_protocol.values import AgencyId
from tests.edge.hub_lab import ORIGIN, Agency, Answer, Lab, running_hub

CODE = AgencyId("33.75")


async def post(agency: Agency, token: str) -> Answer:
    return await agency.lab.call("POST", "/v1/enrolments", data=agency.request(token))


async def send(lab: Lab, statement: str) -> Answer:
    return await lab.call("POST", "/v1/statements", data=msgspec.json.encode({"statement": statement}))


async def test_an_enrolment_brings_statements_that_replay_into_a_roster(lab: Lab) -> None:
    agency = Agency(lab, CODE, lab.new_key())
    answer = await post(agency, await lab.hub.invite(CODE))
    assert answer.status == 201
    roster = Roster()
    for line in answer.json["statements"]:
        roster.admit(line["index"], parse_jws(line["statement"]))
        verify_receipt(parse_receipt(line["receipt"].encode()), line["statement"].encode(), [lab.vkey], ORIGIN)
    assert roster.speaks(agency.signer.kid, CODE, answer.json["index"])


async def test_the_same_token_and_key_get_the_same_answer_for_ever(lab: Lab) -> None:
    agency = Agency(lab, CODE, lab.new_key())
    token = await lab.hub.invite(CODE)
    first = await post(agency, token)
    agency.restart_chain()
    await agency.push_new(1)
    lab.clock.at_ms += 365 * 24 * 3600 * 1000
    again = await post(agency, token)
    assert (first.status, again.status) == (201, 200)
    assert again.body == first.body


async def test_the_same_token_with_another_key_or_agency_is_bad(lab: Lab) -> None:
    token = await lab.hub.invite(CODE)
    await post(Agency(lab, CODE, lab.new_key()), token)
    size = lab.hub.log.size
    for code, used in ((CODE, token), (AgencyId("35.71"), await lab.hub.invite(CODE)), (CODE, "guess")):
        answer = await post(Agency(lab, code, lab.new_key()), used)
        assert (answer.status, answer.kind) == (403, "bad-token")
    assert lab.hub.log.size == size


async def test_two_keys_race_for_one_token_and_one_wins(lab: Lab) -> None:
    token = await lab.hub.invite(CODE)
    rivals = [Agency(lab, CODE, lab.new_key()) for _ in range(8)]
    answers = await asyncio.gather(*(post(rival, token) for rival in rivals))
    assert sorted(answer.status for answer in answers) == [201] + [403] * 7
    assert lab.hub.log.size == 4


async def test_an_invitation_that_nobody_used_ends(lab: Lab) -> None:
    token = await lab.hub.invite(CODE)
    lab.clock.at_ms += 15 * 24 * 3600 * 1000
    assert (await post(Agency(lab, CODE, lab.new_key()), token)).kind == "bad-token"


async def test_an_enrolment_without_proof_of_possession_is_refused(lab: Lab) -> None:
    agency = Agency(lab, CODE, lab.new_key())
    token = await lab.hub.invite(CODE)
    asked = msgspec.json.decode(agency.request(token))
    other = msgspec.json.decode(Agency(lab, CODE, lab.new_key()).request(token))
    stolen = {**asked, "key": other["key"]}
    answer = await lab.call("POST", "/v1/enrolments", data=msgspec.json.encode(stolen))
    assert (answer.status, answer.kind) == (403, "bad-signature")
    swapped = {**asked, "sealing": other["key"]}
    assert (await lab.call("POST", "/v1/enrolments", data=msgspec.json.encode(swapped))).kind == "bad-signature"
    assert (await post(agency, token)).status == 201


async def test_a_key_enters_the_roster_once_ever(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    other = Agency(lab, AgencyId("35.71"), agency.signer)
    answer = await post(other, await lab.hub.invite(other.code))
    assert (answer.status, answer.kind) == (409, "void-statement")
    assert (await post(Agency(lab, other.code, lab.new_key()), await lab.hub.invite(other.code))).status == 201


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"token":1}', b"\xff", b'{"agency":"33.75"}'])
async def test_a_body_that_is_no_enrolment_is_malformed(lab: Lab, body: bytes) -> None:
    answer = await lab.call("POST", "/v1/enrolments", data=body)
    assert (answer.status, answer.kind) == (422, "malformed")


async def test_after_a_re_enrolment_the_chain_goes_on_with_the_new_key(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    await agency.push_new(1)
    old = agency.signer
    agency.signer = lab.new_key()
    assert (await post(agency, await lab.hub.invite(CODE))).status == 201
    assert (await agency.push(agency.cut(1, signer=old))).kind == "revoked-key"
    await agency.push_new(1)
    assert agency.seq == 2


def rotation(agency: Agency, *, seq: int | None = None) -> tuple[str, Agency]:
    """A rotation statement, and the agency with its new key."""
    lab = agency.lab
    record = lab.hub.log.roster.agency(agency.code)
    assert record is not None
    new = lab.new_key()
    jws = ceremony.rotate_agency(
        agency.signer,
        new,
        log=lab.hub.log.roster.genesis_digest,
        agency=agency.code,
        prev=record.last_statement,
        head=HeadRef(agency.seq if seq is None else seq, agency.prev),
        at_ms=lab.clock.at_ms,
    )
    return jws.text, Agency(lab, agency.code, new, agency.epoch, agency.seq, agency.prev)


async def test_a_key_rotates_and_the_new_one_goes_on(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    await agency.push_new(1)
    statement, renewed = rotation(agency)
    answer = await send(lab, statement)
    assert answer.status == 201
    verify_receipt(parse_receipt(answer.json["receipt"].encode()), statement.encode(), [lab.vkey], ORIGIN)
    again = await send(lab, statement)
    assert (again.status, again.json["index"]) == (200, answer.json["index"])
    assert (await agency.push(agency.cut(1))).kind == "revoked-key"
    await renewed.push_new(1)


async def test_a_rotation_that_names_another_head_is_void(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    await agency.push_new(1)
    answer = await send(lab, rotation(agency, seq=7)[0])
    assert (answer.status, answer.kind) == (409, "void-statement")
    record = lab.hub.log.roster.agency(agency.code)
    assert record is not None
    assert answer.json["statement"] == record.last_statement.b64u


async def test_a_rotation_that_does_not_follow_the_last_statement_names_what_it_should(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    statement, _ = rotation(agency)
    rival, _ = rotation(agency)
    assert (await send(lab, statement)).status == 201
    answer = await send(lab, rival)
    assert answer.kind in {"revoked-key", "void-statement"}


async def test_an_agency_revokes_its_own_key(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    record = lab.hub.log.roster.agency(agency.code)
    assert record is not None
    jws = ceremony.revoke(
        agency.signer,
        log=lab.hub.log.roster.genesis_digest,
        agency=agency.code,
        prev=record.last_statement,
        kid=agency.signer.kid,
        at_ms=lab.clock.at_ms,
    )
    assert (await send(lab, jws.text)).status == 201
    assert (await agency.push(agency.cut(1))).kind == "revoked-key"
    assert (await post(agency, await lab.hub.invite(CODE))).kind == "void-statement"
    agency.signer = lab.new_key()
    assert (await post(agency, await lab.hub.invite(CODE))).status == 201
    agency.restart_chain()
    await agency.push_new(1)


async def test_what_a_revocation_disputes_is_shown_with_the_key_and_the_agency(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    other = await lab.enrol("35.71")
    await agency.push_new(1)
    await lab.hub.revoke(agency.code, disputed_from=1, reason="stolen")
    await lab.hub.revoke(other.code)
    for code, disputed in (("33.75", 1), ("35.71", 0)):
        (key,) = (await lab.call("GET", f"/v1/agencies/{code}/keys")).json["keys"]
        assert key["disputed_from"] == disputed
    assert (await post(agency, await lab.hub.invite(CODE))).kind == "void-statement"  # the key is spent for ever
    renewed = Agency(lab, agency.code, lab.new_key())
    await renewed.enrol(await lab.hub.invite(CODE))
    keys = (await lab.call("GET", "/v1/agencies/33.75/keys")).json["keys"]
    assert [key["disputed_from"] for key in keys] == [1, None]
    first, second = (await lab.hub.status())["agencies"]
    told = f"disputed from seq 1 on, by the revocation of key {agency.signer.kid[:12]}"
    assert first["troubles"] == [told]
    assert second["troubles"] == ["its key was revoked and none speaks"]
    assert (await lab.call("GET", "/v1/agencies")).json[0]["troubles"] == [told]


async def test_nobody_else_sends_statements_of_the_registrar(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    genesis = lab.hub.log.roster.statements_for("33.75")[0].jws.text
    assert (await send(lab, genesis)).json["index"] == 0
    manifest = agency.cut(0).manifest.jws.text
    assert (await send(lab, manifest)).status == 422
    assert (await send(lab, "x")).kind == "malformed"
    assert lab.hub.log.size == 4


async def test_statements_that_cannot_go_in_are_answered_without_an_append(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    logged, renewed = rotation(agency)
    assert (await send(lab, logged)).status == 201
    renewed.restart_chain()
    fresh, _ = rotation(renewed)
    forged = fresh[: fresh.rindex(".") + 1] + "A" * 86
    stranger, _ = rotation(Agency(lab, agency.code, lab.new_key(), prev=renewed.prev))
    size = lab.hub.log.size
    async with asyncio.timeout(20), lab.hub.lock.hold():  # whoever wants to append waits for us
        sent = (logged, forged, stranger, "x.y.z", agency.cut(0).manifest.jws.text)
        answers = [await send(lab, statement) for statement in sent]
    assert [answer.status for answer in answers] == [200, 403, 403, 422, 422]
    assert [answer.kind for answer in answers[1:3]] == ["bad-signature", "unknown-key"]
    assert lab.hub.log.size == size
    assert (await send(lab, fresh)).status == 201


async def test_the_log_is_told_the_time_hourly_and_never_backwards(tmp_path: Path) -> None:
    async with running_hub(tmp_path, tick_interval_s=0.2) as lab:
        first = lab.hub.log.roster.tick_before(lab.hub.log.size)
        lab.clock.at_ms += 3_600_000
        async with asyncio.timeout(10):
            while lab.hub.log.roster.tick_before(lab.hub.log.size) == first:  # noqa: ASYNC110 - another task's work
                await asyncio.sleep(0.02)
        lab.clock.at_ms -= 7_200_000
        place = await lab.hub.appender.append_statement(lab.hub.statements.tick)
        assert place.is_new
        assert lab.hub.log.roster.tick_before(lab.hub.log.size) == (first or 0) + 3_600_001
