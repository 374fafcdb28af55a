"""Recording: durable when answered, once for ever, and a bad command fails alone (architecture G2, G3)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from node.local.recording import Command, LocalRules, Minting, Outcome, RequestKey
from node.local.service import BATCH_COMMANDS_MAX, WAITING_MAX, LocalService
from node.store.complaint_keys import complaint_key
from node.store.local_records import Found, Named, RowConflict, WrittenRows
from node.store.local_store import SqlLocalStore, open_local_store
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.line import parse_change, parse_content
from sync_protocol.transitions import Verdict
from sync_protocol.values import AgencyId, parse_tracking
from tests.fakes.node_lab import SeededRandomness, StandingClock

AGENCY = AgencyId("33.75")
RECEIVED = {"channel": "web", "visibility": "public", "received_at": "2026-02-02T02:40:00.000Z"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlLocalStore]:
    opened = await open_local_store(tmp_path / "local.db", create=True)
    yield opened
    await opened.close()


def minting(**more: Any) -> Minting:
    return Minting(AGENCY, "PKL", StandingClock(), SeededRandomness(), **more)


@pytest.fixture
async def service(store: SqlLocalStore) -> AsyncIterator[LocalService]:
    async with LocalService(store, minting()) as running:
        yield running


def new(text: str = "Jalan rusak", **more: Any) -> Command:
    return Command("received", RECEIVED, {"text": text}, role="reporter", **more)


def key(number: int, body: str = "b") -> RequestKey:
    return RequestKey(sha256(b"%d" % number).digest(), sha256(body.encode()).digest())


async def lines(store: SqlLocalStore) -> list[bytes]:
    async with store.transaction() as transaction:
        return [change.line for change, _ in await transaction.changes(0)]


async def test_what_was_done_and_what_was_said_go_to_different_lines(
    service: LocalService, store: SqlLocalStore
) -> None:
    recorded = (await service.record(new("Ibu Sari, Jalan Merdeka 7"))).recorded
    assert parse_tracking(recorded.tracking) == recorded.tracking
    held = await store.complaint(complaint_key(recorded.complaint))
    assert held is not None
    (change,) = await store.complaint_changes(held.no)
    assert b"Sari" not in change.line
    assert change.content is not None
    said = parse_content(change.content)
    assert (said["text"], len(said["salt"])) == ("Ibu Sari, Jalan Merdeka 7", 22)


async def test_each_change_follows_the_rev_before_it(service: LocalService, store: SqlLocalStore) -> None:
    complaint = (await service.record(new())).recorded.complaint
    await asyncio.gather(*(service.record(Command("noted", {}, {"note": "x"}, complaint=complaint)) for _ in range(30)))
    assert [parse_change(line).rev for line in await lines(store)] == list(range(1, 32))


async def test_many_callers_share_commits(store: SqlLocalStore) -> None:
    counting = CountingStore(store)
    async with LocalService(counting, minting()) as service:
        await asyncio.gather(*(service.record(new()) for _ in range(200)))
    assert counting.transactions < 20
    assert len(await lines(store)) == 200


@dataclass
class CountingStore:
    """Counts transactions; may fail one that holds a given text as a store might that will not take a row."""

    store: SqlLocalStore
    transactions: int = 0
    poison: bytes | None = None
    failure: Exception = field(default_factory=lambda: RowConflict("poison"))

    async def record(self, named: Named, judge: Callable[[Found], WrittenRows], *, few: bool = False) -> None:
        self.transactions += 1

        def poisoned(found: Found) -> WrittenRows:
            written = judge(found)
            if self.poison is not None and any(self.poison in (change.content or b"") for change in written.changes):
                raise self.failure
            return written

        await self.store.record(named, poisoned, few=few)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


async def test_a_row_that_the_store_will_not_take_fails_alone(store: SqlLocalStore) -> None:
    poisoned = CountingStore(store, poison=b"poison")
    async with LocalService(poisoned, minting()) as service:
        texts = ["good"] * 10 + ["poison"] + ["good"] * 10
        outcomes = await asyncio.gather(*(service.record(new(text)) for text in texts), return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {Outcome: 20, RowConflict: 1}
    assert len(await lines(store)) == 20


async def test_a_full_disk_fails_those_who_wait_and_the_next_ones_are_served(store: SqlLocalStore) -> None:
    full = CountingStore(store, poison=b"", failure=OSError(28, "No space left on device"))
    async with LocalService(full, minting()) as service:
        outcomes = await asyncio.gather(*(service.record(new()) for _ in range(5)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {OSError}
        full.poison = None
        await service.record(new())
    assert len(await lines(store)) == 1


async def test_a_refused_command_leaves_its_neighbours_and_nothing_else(
    service: LocalService, store: SqlLocalStore
) -> None:
    complaint = (await service.record(new())).recorded.complaint
    outcomes = await service.record_all(
        [
            new(),
            Command("closed", {"by": "officer", "reason": "done"}, complaint=complaint),
            Command("verified", {"class": "Jalan Sudirman 5, Ibu Ani"}, complaint=complaint),
            Command("verified", {"class": "aspiration"}, complaint=complaint),
            Command("nonsense", {}, complaint=complaint),
            Command("verified", {"class": "aspiration"}, complaint="not an id"),
            Command("verified", {"class": "aspiration"}),
            Command("noted", {}, {"note": "x" * 40_000}, complaint=complaint),
            new(),
        ]
    )
    kinds = [outcome.kind if isinstance(outcome, Refused) else "recorded" for outcome in outcomes]
    assert kinds == [
        "recorded",
        "change-refused",
        "malformed",
        "recorded",
        "malformed",
        "malformed",
        "malformed",
        "too-large",
        "recorded",
    ]
    assert len(await lines(store)) == 4


@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        (Command("started"), Verdict.BAD_TRANSITION),
        (Command("withdrawn", {"offer": "A" * 43}), Verdict.NO_OFFER),
        (Command("recalled", {"reason": "silent"}), Verdict.NOT_DESK),
        (Command("offered", {"to": "33.75", "reason": "x"}), Verdict.BAD_TARGET),
        (Command("offered", {"to": "99.99", "reason": "x"}), Verdict.UNKNOWN_AGENCY),
    ],
    ids=lambda value: value.label if isinstance(value, Verdict) else "",
)
async def test_what_the_log_would_refuse_is_refused_here_with_its_verdict(
    store: SqlLocalStore, command: Command, verdict: Verdict
) -> None:
    async with LocalService(store, minting(is_agency=lambda name: name != "99.99")) as service:
        complaint = (await service.record(new())).recorded.complaint
        with pytest.raises(Refused) as caught:
            await service.record(Command(command.type, command.data, complaint=complaint))
    assert caught.value.kind == "change-refused"
    assert caught.value.members == {"verdict": verdict.label, "state": "received", "rev": 1}
    assert len(await lines(store)) == 1


async def test_a_complaint_of_somebody_else_is_not_made_here(service: LocalService) -> None:
    with pytest.raises(Refused) as caught:
        await service.record(
            Command("verified", {"class": "aspiration"}, complaint="35.71:01890000-0000-7000-8000-000000000001")
        )
    assert caught.value.members["verdict"] == "unknown_complaint"


async def test_the_desk_may_recall_where_the_rules_name_it(store: SqlLocalStore) -> None:
    async with LocalService(store, minting(rules=LocalRules(desk=AGENCY, bounce_limit=0))) as service:
        complaint = (await service.record(new())).recorded.complaint
        outcome = await service.record(Command("recalled", {"reason": "silent"}, complaint=complaint))
    assert outcome.recorded.state == "received"


async def test_a_caller_who_looked_at_an_older_rev_is_told_so(service: LocalService) -> None:
    complaint = (await service.record(new())).recorded.complaint
    await service.record(Command("noted", {}, {"note": "x"}, complaint=complaint, expected_rev=1))
    with pytest.raises(Refused) as caught:
        await service.record(Command("noted", {}, {"note": "x"}, complaint=complaint, expected_rev=1))
    assert caught.value.members == {"verdict": "wrong_rev", "state": "received", "rev": 2}


async def test_a_request_repeated_a_hundred_times_at_once_is_recorded_once(
    service: LocalService, store: SqlLocalStore
) -> None:
    outcomes = await asyncio.gather(*(service.record(new(request=key(1))) for _ in range(100)))
    assert len({outcome.recorded for outcome in outcomes}) == 1
    assert sum(not outcome.is_repeat for outcome in outcomes) == 1
    again = await service.record(new(request=key(1)))
    assert again == Outcome(outcomes[0].recorded, is_repeat=True)
    assert len(await lines(store)) == 1


async def test_a_key_used_for_something_else_is_refused(service: LocalService, store: SqlLocalStore) -> None:
    await service.record(new(request=key(1)))
    with pytest.raises(Refused) as caught:
        await service.record(new("another", request=key(1, "another body")))
    assert caught.value.kind == "idempotency-key-reused"
    assert len(await lines(store)) == 1


async def test_a_refused_request_may_be_sent_again_with_its_key_when_it_has_become_possible(
    service: LocalService,
) -> None:
    complaint = (await service.record(new())).recorded.complaint
    started = Command("started", complaint=complaint, request=key(2))
    with pytest.raises(Refused):
        await service.record(started)
    await service.record(Command("verified", {"class": "aspiration"}, complaint=complaint))
    await service.record(Command("assigned", {"unit": "dinas-pu"}, complaint=complaint))
    assert (await service.record(started)).recorded.state == "in_progress"


async def test_two_processes_give_one_answer_for_one_key(tmp_path: Path, store: SqlLocalStore) -> None:
    other_store = await open_local_store(tmp_path / "local.db")
    async with LocalService(store, minting()) as one, LocalService(other_store, minting()) as other:
        outcomes = await asyncio.gather(
            *(service.record(new(request=key(number))) for number in range(20) for service in (one, other))
        )
    await other_store.close()
    assert len({outcome.recorded.change for outcome in outcomes}) == 20
    assert len(await lines(store)) == 20


async def test_a_source_is_recorded_once_and_its_complaint_is_the_answer_ever_after(
    service: LocalService, store: SqlLocalStore
) -> None:
    data = {**RECEIVED, "source": {"system": "sms", "id": "m-1"}}
    command = Command("received", data, {"text": "x"}, once_for=("sms", "m-1"))
    outcomes = await service.record_all([command, command])
    outcomes.append(await service.record(command))
    recorded = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
    assert [outcome.is_repeat for outcome in recorded] == [False, True, True]
    assert len({outcome.recorded.complaint for outcome in recorded}) == 1
    assert len(await lines(store)) == 1


async def test_closing_writes_what_was_taken_in_and_takes_nothing_more(store: SqlLocalStore) -> None:
    async with LocalService(store, minting()) as service:
        waiting = [asyncio.create_task(service.record(new())) for _ in range(50)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*waiting)) == 50
    with pytest.raises(Unavailable):
        await service.record(new())
    assert len(await lines(store)) == 50


async def test_a_caller_who_went_away_does_not_disturb_the_others(service: LocalService, store: SqlLocalStore) -> None:
    gone = asyncio.create_task(service.record(new()))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(*(service.record(new()) for _ in range(5)))
    assert len(await lines(store)) == 6


async def test_too_many_waiting_callers_are_told_to_come_back(store: SqlLocalStore) -> None:
    async with LocalService(store, minting()) as service:
        async with store.transaction():  # somebody else writes: nobody is served
            waiting = [asyncio.create_task(service.record(new())) for _ in range(WAITING_MAX + BATCH_COMMANDS_MAX + 9)]
            await asyncio.sleep(0.2)
            refused = [task for task in waiting if task.done()]
            assert refused
            assert all(isinstance(task.exception(), Unavailable) for task in refused)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    served = sum(isinstance(outcome, Outcome) for outcome in outcomes)
    assert served == len(waiting) - len(refused) == len(await lines(store))
