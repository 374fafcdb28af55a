"""The fold of one change: right for every sequence, and a refused change changes nothing (protocol §9.3, §9.4)."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from sync_protocol.change_types import DATA_TYPES
from sync_protocol.complaint import ComplaintState, FoldContext, Verdict, fold
from sync_protocol.limits import COMPLAINT_CHANGES_MAX
from sync_protocol.line import parse_change
from sync_protocol.values import b64u_encode
from tests.protocol.line_samples import BORN, DATA, line_of, uuid_of
from tests.protocol.naive_fold import Model

DESK = "desk"
AGENCIES = ("33.75", "35.71", DESK)


@dataclass(frozen=True)
class Rules:
    desk: str = DESK
    bounce_limit: int = 2


@dataclass
class Play:
    """A fold over a dictionary, change after change, beside nothing else."""

    silent: set[str] = field(default_factory=set)
    complaints: dict[str, ComplaintState] = field(default_factory=dict)
    steps: int = 0
    last_leaf: bytes = b""

    def line(self, change_type: str, data: Mapping[str, object] | None, rev: int | None, label: str | None) -> bytes:
        self.steps += 1
        return line_of(change_type, data, rev=rev or self.steps, label=label or f"change {self.steps}")

    def act(
        self,
        agency: str,
        change_type: str,
        data: Mapping[str, object] | None = None,
        *,
        rev: int | None = None,
        label: str | None = None,
    ) -> str:
        """The verdict's label on a change with the next rev, to the one complaint of `line_samples`."""
        return self.fold(agency, self.line(change_type, data, rev, label))

    def fold(self, agency: str, line: bytes) -> str:
        change = parse_change(line)
        self.last_leaf = sha256(b"\0" + line).digest()
        context = FoldContext(0, agency, Rules(), lambda name: name in AGENCIES, lambda owner: owner in self.silent)
        before = self.complaints.get(change.complaint)
        kept = copy.copy(before)
        verdict, after = fold(before, change, self.last_leaf, context)
        assert before == kept, "a fold changes nothing that it is given"
        if verdict is Verdict.APPLIED:
            assert after is not None
            self.complaints[change.complaint] = after
        else:
            assert after is before
        return verdict.label

    def run(self, *types: str) -> Play:
        for change_type in types:
            assert self.act("33.75", change_type) == "applied", change_type
        return self

    @property
    def only(self) -> ComplaintState:
        (state,) = self.complaints.values()
        return state

    def offer(self, to: str = "35.71") -> dict[str, object]:
        """Offers it, and gives what an answer has to name."""
        assert self.act(self.only.owner, "offered", {"reason": "area", "to": to}) == "applied"
        return {"offer": b64u_encode(self.last_leaf)}


def test_a_complaint_goes_the_whole_way() -> None:
    play = Play().run(
        "received", "verified", "assigned", "started", "answered", "replied", "answered", "closed", "rated"
    )
    state = play.only
    assert (state.state.label, state.owner, state.unit, state.rating) == ("closed", "33.75", "dinas-pu", 5)
    assert (state.closed_by, state.reason, state.applied, len(state.ids)) == ("reporter", "solved", 9, 9 * 16)
    assert play.run("reopened").only.closed_by is None


def test_only_the_minting_agency_brings_a_complaint_into_the_world() -> None:
    assert Play().act("35.71", "received") == "foreign_id"
    assert Play().run("received").act("33.75", "received") == "already_exists"
    assert Play().act("33.75", "verified") == "unknown_complaint"


def test_an_import_takes_the_state_its_source_gives() -> None:
    play = Play()
    data = {**BORN, "state": "on_hold", "unit": "dinas-pu", "reason": "budget"}
    assert play.act("33.75", "imported", data) == "applied"
    assert (play.only.state.label, play.only.unit, play.only.reason) == ("on_hold", "dinas-pu", "budget")
    assert play.run("resumed").only.state.label == "received"  # where it came from is not known


def test_information_requested_goes_back_to_where_it_came_from_even_through_a_hold() -> None:
    play = Play().run("received", "verified", "assigned", "information_requested", "held", "resumed")
    assert play.only.state.label == "awaiting_information"
    assert play.run("information_supplied").only.state.label == "assigned"


def test_nobody_but_the_owner_changes_a_complaint() -> None:
    play = Play().run("received")
    for change_type in sorted(set(DATA_TYPES) - {"received", "imported", "accepted", "declined", "withdrawn"}):
        expected = "not_desk" if change_type in ("recalled", "directed") else "not_owner"
        assert play.act("35.71", change_type) == expected


def test_ownership_moves_in_two_signed_steps() -> None:
    play = Play().run("received", "verified", "assigned", "information_requested")
    answer = play.offer()
    assert play.only.owner == "33.75"
    assert play.act(DESK, "accepted", answer) == "not_offered"
    assert play.act("35.71", "accepted", {"offer": b64u_encode(bytes(32))}) == "no_offer"
    assert play.act("35.71", "accepted", answer) == "applied"
    state = play.only
    assert (state.owner, state.state.label, state.unit, state.return_state) == ("35.71", "received", None, None)
    assert (state.offer, state.offer_to) == (None, None)
    assert play.act("33.75", "verified") == "not_owner"


def test_an_answered_offer_cannot_be_answered_again() -> None:
    play = Play().run("received")
    answer = play.offer()
    assert play.act("35.71", "declined", {**answer, "reason": "not_ours"}) == "applied"
    assert play.act("35.71", "accepted", answer) == "no_offer"
    assert play.only.bounces == 1


def test_under_an_offer_only_its_answer_withdrawal_or_recall_applies() -> None:
    play = Play().run("received")
    answer = play.offer()
    for change_type in ("amended", "verified", "held", "erased", "offered"):
        assert play.act("33.75", change_type) == "under_offer"
    assert play.act("33.75", "withdrawn", answer) == "applied"
    assert play.run("verified").only.state.label == "verified"


def test_an_offer_goes_to_an_enrolled_agency_that_is_not_the_owner() -> None:
    play = Play().run("received")
    assert play.act("33.75", "offered", {"reason": "area", "to": "99.99"}) == "unknown_agency"
    assert play.act("33.75", "offered", {"reason": "area", "to": "33.75"}) == "bad_target"


def test_the_desk_recalls_only_after_enough_bounces_or_silence() -> None:
    play = Play().run("received")
    assert play.act(DESK, "recalled") == "not_yet"
    for _ in range(2):
        assert play.act("35.71", "declined", {**play.offer(), "reason": "not_ours"}) == "applied"
    assert play.act(DESK, "recalled") == "applied"
    assert play.only.owner == DESK
    assert play.act(DESK, "directed", {"reason": "law", "to": "35.71"}) == "applied"
    assert (play.only.owner, play.only.bounces, play.only.state.label) == ("35.71", 0, "received")
    play.silent.add("35.71")
    assert play.act(DESK, "recalled") == "applied"


def test_a_recall_ends_a_pending_offer_so_that_two_silent_agencies_hold_nothing() -> None:
    play = Play(silent={"33.75"}).run("received")
    answer = play.offer()
    assert play.act(DESK, "recalled") == "applied"
    assert play.act("35.71", "accepted", answer) == "no_offer"
    assert play.only.owner == DESK


def test_the_desk_directs_only_what_it_owns() -> None:
    assert Play().run("received").act(DESK, "directed") == "not_owner"


def test_a_rev_is_refused_only_up_to_the_last_applied_one() -> None:
    play = Play()
    assert play.act("33.75", "received", rev=5) == "applied"
    assert play.act("33.75", "verified", rev=5) == "wrong_rev"
    assert play.act("33.75", "verified", rev=900) == "applied"
    assert play.act("33.75", "closed", rev=2**53 - 1) == "bad_transition"
    assert play.act("33.75", "assigned", rev=901) == "applied"


def test_a_change_id_is_applied_once() -> None:
    play = Play().run("received")
    assert play.act("33.75", "noted", label="the same") == "applied"
    assert play.act("33.75", "noted", label="the same") == "repeated_id"


def test_a_refused_id_may_come_again() -> None:
    play = Play().run("received")
    assert play.act("33.75", "closed", label="the same") == "bad_transition"
    assert play.act("33.75", "noted", label="the same") == "applied"


def test_an_id_that_straddles_two_applied_ones_is_not_a_repeat() -> None:
    play = Play().run("received")
    first, second = "019b0000-0000-7000-8000-019b00000000", "70008000-019b-7000-8000-700080000000"
    straddling = (bytes.fromhex(first.replace("-", "")) + bytes.fromhex(second.replace("-", "")))[10:26].hex()
    assert straddling[12] == "7"
    assert straddling[16] == "8"
    third = f"{straddling[:8]}-{straddling[8:12]}-{straddling[12:16]}-{straddling[16:20]}-{straddling[20:]}"
    for number, change_id in enumerate((first, second, third), 10):
        line = line_of("noted", rev=number, label="x").replace(uuid_of("x").encode(), change_id.encode())
        assert play.fold("33.75", line) == "applied"


def test_a_complaint_has_room_for_a_bounded_number_of_changes() -> None:
    play = Play().run("received")
    (name,) = play.complaints
    play.complaints[name].applied = COMPLAINT_CHANGES_MAX
    assert play.act("33.75", "noted") == "too_many_changes"


def test_reclassification_and_hand_overs_are_counted() -> None:
    play = Play().run("received", "verified", "assigned", "assigned")
    assert (play.only.reclassified, play.only.hand_overs, play.only.class_) == (1, 1, "complaint_oversight")
    play.act("33.75", "amended", {"category": "air"})
    assert (play.only.category, play.only.reclassified) == ("air", 1)


_CHOICES = [name for name in DATA_TYPES if name not in ("received", "imported")]


@settings(max_examples=300, deadline=None)
@given(some.data())
def test_any_sequence_folds_as_the_plain_model_says(data: some.DataObject) -> None:
    play, model = Play(), Model(DESK, 2, set(AGENCIES))
    offers = [b64u_encode(bytes(32))]
    for step in range(data.draw(some.integers(1, 25), label="steps")):
        owner = play.only.owner if play.complaints else "33.75"
        agency = data.draw(some.sampled_from([owner, owner, owner, *AGENCIES]), label="agency")
        kind = "received" if not play.complaints else data.draw(some.sampled_from([*_CHOICES, "received", "imported"]))
        if data.draw(some.integers(0, 9)) == 0:
            for silent in (play.silent, model.silent):
                silent.symmetric_difference_update({owner})
        members: dict[str, Any] = dict(DATA[kind])
        if "to" in members:
            members["to"] = data.draw(some.sampled_from([*AGENCIES, "99.99"]), label="to")
        if "offer" in members:
            members["offer"] = offers[-data.draw(some.sampled_from([1, 1, 1, min(2, len(offers))]), label="offer")]
        if kind == "imported":
            members["state"] = data.draw(some.sampled_from(["on_hold", "awaiting_information", "closed"]))
        rev = step + data.draw(some.integers(0, 2), label="rev") or 1
        line = line_of(kind, members, rev=rev, label=str(step - (data.draw(some.integers(0, 9)) == 0)))
        before = dict(play.complaints)
        verdict = play.fold(agency, line)
        leaf = b64u_encode(play.last_leaf)
        assert verdict == model.fold(agency, json.loads(line), leaf)
        if kind == "offered" and verdict == "applied":
            offers.append(leaf)
        _compare(play, model)
        if verdict != "applied":
            assert play.complaints == before
        elif before and play.only.owner != owner:
            assert kind in ("accepted", "recalled", "directed")


def _compare(play: Play, model: Model) -> None:
    assert play.complaints.keys() == model.complaints.keys()
    for name, state in play.complaints.items():
        plain = model.complaints[name]
        assert (state.owner, state.state.label, state.rev) == (plain.owner, plain.state, plain.rev)
        assert (state.unit, state.bounces, state.hand_overs) == (plain.unit, plain.bounces, plain.hand_overs)
        assert state.owner in AGENCIES
        assert state.applied == len(plain.ids) == len(state.ids) // 16
        assert (state.offer_to if state.offer else None) == (plain.offer[1] if plain.offer else None)
