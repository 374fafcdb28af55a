"""Enrolment: the node keeps nothing that the invitation's key does not prove (protocol §5.3, §7.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from keys.key_directory import KeyDirectory
from keys.signer import Ed25519Signer
from node.local.enrolment import enrol_node
from node.local.hub_evidence import Contradiction
from node.store.local_store import SqlLocalStore, open_local_store
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.note import vkey_for
from sync_protocol.outbox import Halted, Idle
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId
from sync_protocol.wire import EnrolmentRequest, Entered, StatementLine
from tests.fakes.fake_hub import ORIGIN, FakeHub, FakeLink, Fault
from tests.fakes.node_lab import AGENCY, SeededRandomness, StandingClock, running_node


@dataclass
class Newcomer:
    """A directory that is not enrolled yet."""

    hub: FakeHub
    link: FakeLink
    store: SqlLocalStore
    keys: KeyDirectory
    randomness: SeededRandomness = field(default_factory=SeededRandomness)

    async def enrol(self, *, vkey: str | None = None, agency: AgencyId = AGENCY) -> int:
        return await enrol_node(
            self.store,
            self.link,
            self.keys,
            StandingClock(),
            self.randomness,
            agency=agency,
            vkey=vkey or self.hub.vkey,
            token="token",
        )


@pytest.fixture
async def newcomer(tmp_path: Path) -> AsyncIterator[Newcomer]:
    hub = FakeHub.found()
    store = await open_local_store(tmp_path / "local.db", create=True)
    yield Newcomer(hub, FakeLink(hub, AGENCY), store, KeyDirectory(tmp_path / "keys"))
    await store.close()


async def test_enrolling_makes_keys_and_keeps_what_a_roster_needs(newcomer: Newcomer) -> None:
    index = await newcomer.enrol()
    identity = await newcomer.store.identity()
    assert identity is not None
    assert (identity.agency, identity.origin) == (AGENCY, ORIGIN)
    assert [held.index for held in await newcomer.store.statements()] == [0, 1, index]
    assert all(held.receipt for held in await newcomer.store.statements())
    assert (await newcomer.store.seen()).size == newcomer.hub.size
    record = newcomer.hub.roster.agency(AGENCY)
    assert record is not None
    assert record.kid == newcomer.keys.signer(Role.AGENCY).kid
    assert record.sealing == newcomer.keys.sealing_key().public_key


@pytest.mark.parametrize("lost", list(Fault))
async def test_an_enrolment_whose_way_was_lost_is_repeated_with_the_same_keys(newcomer: Newcomer, lost: Fault) -> None:
    newcomer.link.fault = lambda call: lost if call == "enrol" else None
    with pytest.raises(Unavailable):
        await newcomer.enrol()
    kid = newcomer.keys.signer(Role.AGENCY).kid
    newcomer.link.fault = lambda _: None
    first = await newcomer.enrol()
    assert await newcomer.enrol() == first
    assert newcomer.keys.signer(Role.AGENCY).kid == kid


Twist = Callable[[FakeHub, Entered], Entered]


def _other_agency(hub: FakeHub, entered: Entered) -> Entered:
    """The answer to somebody else's enrolment."""
    index = hub.enrol("35.71", Ed25519Signer.from_seed(b"x" * 32).public_key)
    return msgspec.structs.replace(hub.entered(index, 0), statements=hub.lines_for("35.71"))


def _other_key(hub: FakeHub, entered: Entered) -> Entered:
    """A log in which the agency has another key."""
    index = hub.enrol(AGENCY, Ed25519Signer.from_seed(b"y" * 32).public_key)
    return msgspec.structs.replace(hub.entered(index, 0), statements=hub.lines_for(AGENCY))


def _without_receipts(hub: FakeHub, entered: Entered) -> Entered:
    lines = [msgspec.structs.replace(line, receipt=None) for line in entered.statements or []]
    return msgspec.structs.replace(entered, statements=lines)


def _swapped_receipts(hub: FakeHub, entered: Entered) -> Entered:
    lines = entered.statements or []
    swapped = [
        msgspec.structs.replace(line, receipt=other.receipt) for line, other in zip(lines, reversed(lines), strict=True)
    ]
    return msgspec.structs.replace(entered, statements=swapped)


def _other_genesis(hub: FakeHub, entered: Entered) -> Entered:
    """The answer of another log of that name, which ends in the statement that was asked for."""
    other = FakeHub.found(b"o" * 32)
    record = hub.roster.agency(AGENCY)
    assert record is not None
    assert record.kid is not None
    key = hub.roster.key(record.kid)
    assert key is not None
    index = other.enrol(AGENCY, key.public_key, record.sealing)
    return msgspec.structs.replace(other.entered(index, 0), statements=other.lines_for(AGENCY)[1:])


def _without_statements(hub: FakeHub, entered: Entered) -> Entered:
    return msgspec.structs.replace(entered, statements=None)


def _moved(hub: FakeHub, entered: Entered) -> Entered:
    lines = [msgspec.structs.replace(line, index=line.index + 1) for line in entered.statements or []]
    return msgspec.structs.replace(entered, statements=lines)


@pytest.mark.parametrize(
    "twist",
    [
        _other_agency,
        _other_key,
        _without_receipts,
        _swapped_receipts,
        _other_genesis,
        _without_statements,
        _moved,
    ],
)
async def test_an_answer_that_does_not_prove_the_enrolment_is_not_kept(newcomer: Newcomer, twist: Twist) -> None:
    real = newcomer.link.enrol

    async def enrol(request: EnrolmentRequest) -> Entered:
        return twist(newcomer.hub, await real(request))

    newcomer.link.enrol = enrol  # type: ignore[method-assign]
    with pytest.raises(Contradiction):
        await newcomer.enrol()
    assert await newcomer.store.identity() is None
    assert await newcomer.store.statements() == []


async def test_a_hub_with_another_key_than_the_invitation_names_is_not_shown_the_token(newcomer: Newcomer) -> None:
    other = vkey_for(ORIGIN, Ed25519Signer.from_seed(b"z" * 32).public_key).format()
    with pytest.raises(Contradiction, match="bad-signature") as refused:
        await newcomer.enrol(vkey=other)
    assert "No token was sent" in refused.value.next_step
    assert "enrol" not in newcomer.hub.calls
    assert await newcomer.store.identity() is None


async def test_whoever_trusts_any_key_that_the_log_ever_had_enrols(newcomer: Newcomer) -> None:
    """An invitation on paper from before two rotations; then again with the key of now: nothing is spent or ended."""
    first = newcomer.hub.vkey
    newcomer.hub.rotate_log(b"m" * 32)
    between = newcomer.hub.vkey
    newcomer.hub.rotate_log(b"n" * 32)
    index = await newcomer.enrol(vkey=first)
    for vkey in (first, between, newcomer.hub.vkey):
        assert await newcomer.enrol(vkey=vkey) == index
    assert (await newcomer.store.seen()).size == newcomer.hub.size


async def test_an_enrolment_goes_through_while_the_log_key_is_being_followed(newcomer: Newcomer) -> None:
    real = newcomer.link.enrol

    async def enrol(request: EnrolmentRequest) -> Entered:
        newcomer.hub.rotate_log(b"m" * 32)
        return await real(request)

    newcomer.link.enrol = enrol  # type: ignore[method-assign]
    await newcomer.enrol()
    assert (await newcomer.store.seen()).size == newcomer.hub.size


async def test_the_answer_of_before_a_rotation_is_as_good_as_that_of_after(newcomer: Newcomer) -> None:
    """A hub gives an enrolment's answer again as it was, and somebody asks again by the key that came since."""
    real, answers = newcomer.link.enrol, []

    async def enrol(request: EnrolmentRequest) -> Entered:
        answers.append(await real(request))
        return answers[0]

    newcomer.link.enrol = enrol  # type: ignore[method-assign]
    index = await newcomer.enrol()
    newcomer.hub.rotate_log(b"m" * 32)
    assert await newcomer.enrol(vkey=newcomer.hub.vkey) == index
    assert (await newcomer.store.seen()).size == newcomer.hub.size


async def test_a_log_that_only_a_stolen_earlier_key_signs_is_not_shown_the_token(newcomer: Newcomer) -> None:
    """The thief shows the real statements up to the rotation: that far his key signs (protocol §5.4, §6.2)."""
    thief = FakeHub.found()  # to the byte the same so far
    newcomer.hub.rotate_log(b"m" * 32)
    thief.add_statement(newcomer.hub.entries[thief.size].decode())
    newcomer.link.hub = thief
    with pytest.raises(Contradiction, match="bad-signature"):
        await newcomer.enrol(vkey=newcomer.hub.vkey)
    assert "enrol" not in thief.calls


def _unproved(lines: list[StatementLine]) -> list[StatementLine]:
    return [msgspec.structs.replace(line, receipt=None) for line in lines]


def _headless(lines: list[StatementLine]) -> list[StatementLine]:
    return lines[1:]


def _none(_lines: list[StatementLine]) -> list[StatementLine]:
    return []


@pytest.mark.parametrize("twist", [_unproved, _headless, _none])
async def test_a_hub_whose_statements_prove_nothing_is_not_shown_the_token(
    newcomer: Newcomer, twist: Callable[[list[StatementLine]], list[StatementLine]]
) -> None:
    real = newcomer.link.statements

    async def statements() -> list[StatementLine]:
        return twist(await real())

    newcomer.link.statements = statements  # type: ignore[method-assign]
    with pytest.raises(Contradiction):
        await newcomer.enrol()
    assert "enrol" not in newcomer.hub.calls


async def test_a_directory_belongs_to_one_agency(newcomer: Newcomer) -> None:
    await newcomer.enrol()
    newcomer.link.agency = "35.71"
    newcomer.keys.retire(Role.AGENCY)
    with pytest.raises(Refused, match="belongs to agency"):
        await newcomer.enrol(agency=AgencyId("35.71"))


async def test_after_a_revocation_a_fresh_token_brings_a_new_key_and_the_chain_goes_on(tmp_path: Path) -> None:
    hub = FakeHub.found()
    async with running_node(tmp_path / "a", hub) as node:
        await node.received()
        await node.work()
        hub.revoke(AGENCY)
        await node.received()
        assert isinstance(await node.settle(), Halted)
        keys = KeyDirectory(tmp_path / "a" / "keys")
        old = keys.signer(Role.AGENCY).kid
        await enrol_node(
            node.store,
            node.link,
            keys,
            node.clock,
            node.randomness,
            agency=AGENCY,
            vkey=hub.vkey,
            token="fresh",
        )
        assert keys.signer(Role.AGENCY).kid != old
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        assert isinstance(await node.settle(), Idle)
        assert (await node.store.outbox()).unsent == 0
    manifests = [hub.sets[AGENCY, seq].change_set.manifest for seq in (1, 2)]
    assert [signed.jws.kid for signed in manifests] == [old, keys.signer(Role.AGENCY).kid]
    assert manifests[0].manifest.epoch < manifests[1].manifest.epoch
    assert len(node.lines()) == 2


async def test_of_two_processes_that_enrol_anew_neither_retires_the_others_fresh_key(newcomer: Newcomer) -> None:
    """The other died between the old key and the new one, or has made its own, while this one was being refused."""
    for has_made_one in (False, True):
        await newcomer.enrol()
        newcomer.hub.revoke(AGENCY)
        real = newcomer.link.enrol

        async def overtaken(request: EnrolmentRequest, made: bool = has_made_one, ask: Any = real) -> Entered:
            try:
                return await ask(request)  # type: ignore[no-any-return]
            except Refused:
                newcomer.link.enrol = ask  # type: ignore[method-assign]
                newcomer.keys.retire(Role.AGENCY)
                if made:
                    newcomer.keys.create(Role.AGENCY, b"m" * 32)
                raise

        newcomer.link.enrol = overtaken  # type: ignore[method-assign]
        await newcomer.enrol()
        record = newcomer.hub.roster.agency(AGENCY)
        assert record is not None
        kid = newcomer.keys.signer(Role.AGENCY).kid
        assert record.kid == kid
        assert not has_made_one or kid == Ed25519Signer.generate(b"m" * 32).kid


@pytest.mark.parametrize("has_made_one", [False, True])
async def test_an_enrolment_whose_key_another_process_took_away_is_to_be_repeated(
    newcomer: Newcomer, has_made_one: bool
) -> None:
    """The other was refused the key that the log had just taken in from this one (simulated by seed 628)."""
    ask = newcomer.link.enrol

    async def robbed(request: EnrolmentRequest) -> Entered:
        entered = await ask(request)
        newcomer.link.enrol = ask  # type: ignore[method-assign]
        newcomer.keys.retire(Role.AGENCY)
        if has_made_one:
            newcomer.keys.create(Role.AGENCY, b"m" * 32)
        return entered

    newcomer.link.enrol = robbed  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="repeat it"):
        await newcomer.enrol()
    await newcomer.enrol()
    record = newcomer.hub.roster.agency(AGENCY)
    assert record is not None
    assert record.kid == newcomer.keys.signer(Role.AGENCY).kid


class Dies(BaseException):
    """The process is gone."""


async def test_a_crash_within_a_new_enrolment_lets_out_nothing_that_the_old_key_signed(tmp_path: Path) -> None:
    hub = FakeHub.found()
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
        hub.revoke(AGENCY)
        await node.received()
        assert isinstance(await node.settle(), Halted)
        keys = KeyDirectory(tmp_path / "a" / "keys")
        old, before = keys.signer(Role.AGENCY).kid, (await node.store.outbox()).epoch
        real = node.store.enrol

        async def dies(*arguments: Any) -> NoReturn:
            await real(*arguments)
            raise Dies

        node.store.enrol = dies  # type: ignore[method-assign, assignment]
        fresh: dict[str, Any] = {"agency": AGENCY, "vkey": hub.vkey, "token": "fresh"}
        with pytest.raises(Dies):
            await enrol_node(node.store, node.link, keys, node.clock, node.randomness, **fresh)
        assert (await node.store.outbox()).epoch == before + 1
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        await enrol_node(node.store, node.link, keys, node.clock, node.randomness, **fresh)
        assert (await node.store.outbox()).epoch == before + 1
        assert isinstance(await node.settle(), Idle)
    assert hub.sets[AGENCY, 2].change_set.manifest.jws.kid != old
    assert len(node.lines()) == 1


async def test_a_new_installation_of_an_agency_takes_its_whole_history_over(tmp_path: Path) -> None:
    hub = FakeHub.found()
    async with running_node(tmp_path / "a", hub) as node:
        complaint = (await node.received()).complaint
        await node.work()
    async with running_node(tmp_path / "b", hub, clock=node.clock, seed=2) as fresh:
        assert isinstance(await fresh.settle(), Idle)
        await fresh.change(complaint, "verified", {"class": "aspiration"})
        assert isinstance(await fresh.settle(), Idle)
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=3) as gone:
        await gone.received()
        step = await gone.settle()
        assert isinstance(step, Halted)
        assert step.halt.reason in (HaltReason.FOREIGN_HEAD, HaltReason.KEY_REFUSED)
    assert len(fresh.lines()) == 2


async def test_enrolling_does_not_clear_a_halt_that_it_does_not_cure(newcomer: Newcomer) -> None:
    await newcomer.enrol()
    halt = Halt(HaltReason.COPY_ALIVE, "two of us")
    await newcomer.store.halt(halt, 1)
    await newcomer.enrol()
    assert (await newcomer.store.outbox()).halt == halt


async def test_an_enrolment_ends_a_halt_for_a_fork_that_it_may_itself_have_looked_like(newcomer: Newcomer) -> None:
    """It pushes after the hub enrolled it anew, and before that is kept here (simulated by seed 2178)."""
    await newcomer.enrol()
    await newcomer.store.halt(Halt(HaltReason.FORKED, "another history stands at this place"), 1)
    await newcomer.enrol()
    assert (await newcomer.store.outbox()).halt is None
