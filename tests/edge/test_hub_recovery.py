"""Hubs restored from a backup: they notice, sign nothing, say what to do, and go on once it was done (§10.6)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from node.hub.lock_file import LockFile
from sync_protocol.change_set import ChangeSet
from sync_protocol.wire import RecoveryRequest, SeqRange
from tests.edge.hub_lab import Agency, Answer, Lab, LabClock, options_for, running_hub
from tests.edge.hub_requests import signed

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


class History:
    """A hub's directory as it was after each set of one agency, as backups would hold it."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.root = options_for(tmp_path).directory
        self.clock = LabClock()
        self.starts = 0
        self.agency: Agency | None = None
        self.seen: ChangeSet | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Lab, Agency]]:
        self.starts += 1
        # Without a projector: one that is stopped in the middle of a query lets go of its connection a little later,
        # and files are exchanged here without the process ending.
        async with running_hub(self.tmp_path, clock=self.clock, seed=self.starts, projector=False) as lab:
            if self.agency is None:
                self.agency = await lab.enrol("33.75")
            self.agency.lab = lab
            yield lab, self.agency

    async def make(self, days: int) -> None:
        """A set and a copy for each day; the last day's agency has cut its next set, having seen everything."""
        for day in range(1, days + 1):
            async with self.running() as (_, agency):
                await agency.push_new(1)
                self.seen = agency.cut(1)
            shutil.copytree(self.root, self.tmp_path / f"day{day}")

    def put_back(self, day: int, *names: str) -> None:
        """These files or folders as they were that day, as docs/operations.md wants it done."""
        for leftover in self.root.glob("projection.db*"):
            leftover.unlink()
        for name in names:
            then, now = self.tmp_path / f"day{day}" / name, self.root / name
            if then.is_dir():
                shutil.copytree(then, now, dirs_exist_ok=True)
            else:
                for suffix in ("-wal", "-shm"):
                    now.with_name(name + suffix).unlink(missing_ok=True)
                shutil.copy(then, now)

    async def push_next(self, agency: Agency) -> Answer:
        assert self.seen is not None
        return await agency.push(self.seen)


@pytest.fixture
async def history(tmp_path: Path) -> History:
    made = History(tmp_path)
    await made.make(3)
    return made


async def check_recovering(lab: Lab, answer: Answer, signed_leaves: int) -> None:
    """It says so everywhere, in words that an operator can act on, and shows what it has."""
    assert (answer.status, answer.kind, answer.json["size"]) == (503, "recovering", lab.hub.log.size)
    assert (await lab.call("GET", "/healthz")).kind == "recovering"
    assert (await lab.call("POST", "/v1/statements", data=b'{"statement":"x.y.z"}')).status in {422, 503}
    assert (await lab.call("GET", "/checkpoint")).status == 200
    unknown = await lab.call("GET", "/v1/agencies/99.99/statements")  # it may have been enrolled in what was lost
    assert (unknown.status, unknown.kind) == (503, "recovering")
    (trouble,) = (await lab.hub.status())["troubles"]
    assert f"signed a log of {signed_leaves} leaves" in trouble
    assert "put back a newer copy" in trouble
    assert "'A restored hub'" in trouble
    assert "\n### A restored hub\n" in OPERATIONS.read_text(encoding="utf-8")


async def test_a_database_behind_its_lock_signs_nothing_until_the_newest_is_back(history: History) -> None:
    history.put_back(1, "hub.db")
    for _ in range(2):
        async with history.running() as (lab, agency):
            size = lab.hub.log.size
            await check_recovering(lab, await history.push_next(agency), 7)
            assert lab.hub.log.size == size == 5
    history.put_back(2, "hub.db")
    async with history.running() as (lab, agency):
        await check_recovering(lab, await history.push_next(agency), 7)
    history.put_back(3, "hub.db")
    async with history.running() as (lab, agency):
        assert (await history.push_next(agency)).status == 201
        assert (await lab.hub.status())["troubles"] == []
        assert (await lab.call("GET", "/healthz")).status == 200


async def test_a_node_that_saw_more_stops_a_hub_whose_lock_was_restored_too(history: History) -> None:
    history.put_back(1, "hub.db", "lock")
    async with history.running() as (lab, agency):
        assert (await lab.hub.status())["troubles"] == []
        await check_recovering(lab, await history.push_next(agency), 7)
    async with history.running() as (lab, agency):
        await check_recovering(lab, await history.push_next(agency), 7)
        assert lab.hub.log.size == 5


async def test_what_a_node_showed_holds_against_every_database_that_lacks_it(history: History) -> None:
    history.put_back(1, "hub.db", "lock")
    async with history.running() as (_, agency):
        await history.push_next(agency)
    history.put_back(2, "hub.db", "lock")
    async with history.running() as (lab, agency):
        await check_recovering(lab, await history.push_next(agency), 7)
        assert lab.hub.log.size == 6
    history.put_back(3, "hub.db", "lock")
    async with history.running() as (lab, agency):
        assert (await history.push_next(agency)).status == 201
        assert (await lab.hub.status())["troubles"] == []
        assert await lab.hub.lock.proof() is None


async def test_a_hub_that_signed_two_histories_does_not_go_on_with_the_wrong_one(history: History) -> None:
    history.put_back(1, "hub.db", "lock")
    async with history.running() as (lab, agency):
        for number in range(3):  # others push before anybody shows what they saw
            await lab.enrol(f"35.{71 + number}")
        assert lab.hub.log.size == 8
        await check_recovering(lab, await history.push_next(agency), 7)
        assert not await lab.hub.restoring.look(now=True)
        (trouble,) = (await lab.hub.status())["troubles"]
        assert "signed two histories" in trouble
    async with history.running() as (lab, agency):
        await check_recovering(lab, await history.push_next(agency), 7)


def recovery_of(history: History, lab: Lab, checkpoint: bytes) -> tuple[bytes, dict[str, str]]:
    assert history.agency is not None
    asked = RecoveryRequest(
        agency="33.75",
        checkpoint=checkpoint.decode(),
        receipts=[],
        statements=[],
        seqs=SeqRange(from_seq=1, to_seq=3),
    )
    body = msgspec.json.encode(asked)
    headers = signed(
        lab,
        history.agency.signer,
        "/v1/recovery",
        method="POST",
        covered=("@method", "@target-uri", "content-digest"),
        nonce=lab.randomness.bytes(8).hex(),
        body=body,
    )
    return body, headers


def newest_of(history: History) -> bytes:
    """The note that the lock store holds."""
    kept = LockFile(history.root / "lock" / "checkpoint").read()
    assert kept is not None
    return kept.note


async def test_a_node_that_offers_what_it_holds_stops_a_restored_hub(history: History) -> None:
    newest = newest_of(history)
    history.put_back(1, "hub.db", "lock")
    async with history.running() as (lab, agency):
        body, headers = recovery_of(history, lab, newest)
        answer = await lab.call("POST", "/v1/recovery", data=body, headers=headers)
        assert answer.json == {"size": 5, "wanted": None}  # it showed no set of which lines could be asked for
        await check_recovering(lab, await agency.push(agency.cut(1)), 7)
    async with history.running() as (lab, agency):
        await check_recovering(lab, await agency.push(agency.cut(1)), 7)


async def test_an_offer_that_proves_nothing_stops_nobody(history: History) -> None:
    newest = newest_of(history)
    forged = newest.replace(b"\n7\n", b"\n9\n")
    async with history.running() as (lab, agency):
        for checkpoint, status in ((newest, 200), (forged, 403), (b"rubbish", 422)):
            body, headers = recovery_of(history, lab, checkpoint)
            assert (await lab.call("POST", "/v1/recovery", data=body, headers=headers)).status == status
        assert (await history.push_next(agency)).status == 201
