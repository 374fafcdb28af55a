"""Bodies, problems, signed heads and what a node believes of a hub's answers (protocol §7, §7.3, §10)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from multidict import CIMultiDict, MultiDict

from node.audit.source import claimed_from
from node.hub.http_auth import Gatekeeper, RequestHead
from node.hub.log import HubLog
from node.hub.passes import Passes
from node.link.request_signature import sign_request
from node.local.api_commands import change_command, received_command
from node.local.api_types import ANY_CHANGE_REQUEST, CHANGE_REQUESTS, NewComplaint
from node.local.http_problems import BODY_MAX_BYTES as INTAKE_MAX_BYTES
from node.local.http_requests import convert, read_filter, request_key
from node.local.hub_evidence import Evidence, held_statement, roster_of
from node.local.ports import HubLink
from node.store.local_records import Seen
from sync_protocol import wire
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.limits import JSON_VALUES_MAX
from sync_protocol.problems import PROBLEM_MAX_BYTES, PROBLEMS, problem_body, refused_from_problem
from sync_protocol.strict_json import parse_object
from sync_protocol.values import Digest
from tests.edge.hub_lab import LabClock
from tests.fuzz.target import KIB, MIB, Target, drive, must, text_of
from tests.fuzz.targets_signed import federation
from tests.protocol.audit_samples import SampleLog
from tests.protocol.federation_samples import KEDIRI, PEKALONGAN
from tests.protocol.line_samples import BORN, COMPLAINT, DATA, uuid_of
from tests.protocol.log_samples import LOG, ORIGIN, FixedSigner

SMALL: Sequence[type[msgspec.Struct]] = (wire.EnrolmentRequest, wire.StatementRequest)
AS_OF = {"size": 4, "state_hash": "fold1:" + "0" * 64, "age_s": 0, "time": "2026-01-03T10:31:12.123Z"}
B64U = "A" * 43


@lru_cache(maxsize=1)
def _log() -> SampleLog:
    """Genesis, rules, two enrolments and a heartbeat of the first agency."""
    log = SampleLog.founded(PEKALONGAN, KEDIRI)
    log.push(PEKALONGAN)
    return log


def _note() -> str:
    return _log().note().decode()


def _lines() -> list[dict[str, object]]:
    log = _log()
    return [
        {"index": index, "statement": log.entries[index].decode(), "receipt": log.receipt(index)} for index in range(3)
    ]


def _entered() -> dict[str, object]:
    log = _log()
    consistency = {"from": 0, "hashes": []}
    return {
        "index": 4, "receipt": log.receipt(4), "checkpoint": _note(), "consistency": consistency, "hidden": 0,
        "erased": 0, "statements": _lines(),
    }  # fmt: skip


def _head() -> dict[str, object]:
    log = _log()
    manifest = log.pushed[0]
    return {
        "agency": str(PEKALONGAN), "epoch": 1, "seq": 1, "digest": manifest.digest.b64u, "statement": B64U,
        "checkpoint": _note(), "manifest": manifest.jws.text, "kid": FixedSigner(PEKALONGAN).kid,
        "receipt": log.receipt(4),
    }  # fmt: skip


def _samples() -> Mapping[type[msgspec.Struct], object]:
    """A body of each call."""
    complaint = {
        "complaint": COMPLAINT, "state": "received", "class": None, "category": "jalan", "area": "33.75", "unit": None,
        "offer_to": None, "received_at": AS_OF["time"], "rev": 1, "due_at": None, "duty": None, "overdue": False,
    }  # fmt: skip
    refused = {"seq": 1, "index": 4, "refused": [{"position": 0, "id": uuid_of("change"), "verdict": "malformed"}]}
    enrolment = {"agency": "33.75", "key": B64U, "sealing": B64U, "proof": "a.b.c", "token": "token"}
    recovery = {"agency": "33.75", "checkpoint": _note(), "receipts": [_log().receipt(4)], "statements": _lines()}
    hub = {"origin": ORIGIN, "vkey": LOG.vkey().format(), "genesis": _log().entries[0].decode(), "protocol": 1}
    return {
        wire.EnrolmentRequest: enrolment,
        wire.StatementRequest: {"statement": _log().entries[1].decode()},
        wire.RecoveryRequest: {**recovery, "seqs": {"from": 1, "to": 3}},
        wire.RecoveryAnswer: {"size": 4, "wanted": {"from": 1, "to": 2}},
        wire.HubDescription: {**hub, "fold": 1, "limits": {"leaves": 20_000}, "time": AS_OF["time"], "size": 5},
        wire.ConsistencyAnswer: {"from": 1, "to": 5, "hashes": [B64U + "="]},
        wire.VerdictPage: {"sets": [refused], "next": 2},
        wire.Totals: {
            "as_of": AS_OF,
            "state_hash": AS_OF["state_hash"],
            "totals": {"applied/33.75//": 3},
            "next": None,
        },
        wire.ComplaintPage: {"as_of": AS_OF, "complaints": [complaint], "next": None},
        wire.SilentAgencies: {"as_of": AS_OF, "tick": None, "agencies": []},
        wire.KeySet: {"keys": [{"x": B64U, "kid": B64U, "from_index": 2}]},
        wire.Entered: _entered(),
        wire.HeadAnswer: _head(),
    }


def _spelled(value: object) -> list[bytes]:
    return [json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()]


def _body(kind: type[msgspec.Struct], data: bytes) -> object:
    body = wire.parse_body(data, kind)
    must(wire.parse_body(wire.format_body(body), kind) == body, "written and read again it is another body")
    return body


@cache
def _largest() -> tuple[bytes, ...]:
    """As many values as a document may have in as many bytes, and one text that takes four bytes a letter."""
    room, count = wire.BODY_MAX_BYTES, JSON_VALUES_MAX - 10
    members = b",".join(b'"%06d":"%b"' % (number, b"x" * (room // count - 14)) for number in range(count))
    objects = b"{}," * (count // 2)
    text = b"x" * (room - 20) + "\U0001f600".encode()
    return b"{%b}" % members, b'{"a":[%b0]}' % objects, b'{"a":"%b"}' % text


def _bodies(kind: type[msgspec.Struct], data: bytes) -> object:
    return wire.parse_bodies(data, kind)


def _problem(data: bytes) -> object:
    """An answer that is no success: status in two bytes, then the body. Never raises, whatever it is."""
    status = int.from_bytes(data[:2], "big") % 600
    outcome = refused_from_problem(status, data[2:])
    must(isinstance(outcome, Refused | Unavailable), "no word of ours")
    if isinstance(outcome, Refused):
        must(problem_body(outcome)["status"], "it cannot be told further")
    return outcome


def _problems() -> list[bytes]:
    made = []
    for kind, problem in PROBLEMS.items():
        members = {
            "type": "urn:simpul:problem:" + kind,
            "title": "t",
            "status": problem.status,
            "detail": "d",
            "size": 3,
        }
        made.append(problem.status.to_bytes(2, "big") + json.dumps(members).encode())
    return made


class _Link:
    """A hub that proves nothing."""

    async def consistency(self, _from: int, _to: int) -> list[bytes]:
        return []


def _evidence() -> tuple[Evidence, Seen]:
    """What a node holds that saw the log before its own set went in."""
    opened = open_checkpoint(_log().note(size=4), [LOG.vkey()], ORIGIN)
    seen = Seen(4, Digest(opened.checkpoint.root), opened.signature, opened.note)
    return Evidence.by(cast("HubLink", _Link()), _log().federation.roster), seen


def _head_believed(data: bytes) -> object:
    """Whatever a hub says of our head: no other checkpoint is believed than one of the true log."""
    answer = wire.parse_body(data, wire.HeadAnswer)
    evidence, seen = _evidence()
    hub, newer = drive(evidence.head(answer, PEKALONGAN, seen, {FixedSigner(PEKALONGAN).kid}))
    must(newer is None or newer.root == _log().root(newer.size), "a checkpoint of another log was believed")
    must(hub.seq <= 1, "a head was believed that nobody signed")
    must(hub.epoch == 1, "an epoch was believed that nobody signed")
    return hub


def _heads() -> list[bytes]:
    """In step with what was seen: a newer checkpoint would want a proof."""
    old = {**_head(), "checkpoint": _log().note(size=4).decode()}
    enrolment = _log().federation.roster.agency(PEKALONGAN)
    assert enrolment is not None
    before = {**old, "seq": 0, "digest": enrolment.enrolment.b64u, "manifest": None, "receipt": None}
    return [*_spelled(old), *_spelled(before)]


def _entry_believed(data: bytes) -> object:
    answer = wire.parse_body(data, wire.Entered)
    evidence, seen = _evidence()
    log = _log()
    newer = drive(evidence.entered(answer, log.entries[2], seen))
    must(answer.index == 2, "another place was believed")
    must(newer is None or newer.root == log.root(newer.size), "a checkpoint of another log was believed")
    return newer


def _entries() -> list[bytes]:
    log = _log()
    answer = {**_entered(), "index": 2, "receipt": log.receipt(2, size=4), "checkpoint": log.note(size=4).decode()}
    return _spelled(answer)


def _statements_believed(data: bytes) -> object:
    held = [held_statement(line) for line in wire.parse_bodies(data, wire.StatementLine)]
    evidence, seen = _evidence()
    drive(evidence.statements(held, seen))
    return roster_of(sorted({one.index: one for one in held}.values(), key=lambda one: one.index))


def _statements() -> list[bytes]:
    log = _log()
    lines = [{**line, "receipt": log.receipt(at, size=4)} for at, line in enumerate(_lines())]
    return _spelled(lines)


class _FakeLog:
    """What the gatekeeper asks of a hub's log: a roster that stands still, and no grants."""

    def __init__(self) -> None:
        self.roster, self.size, self.store = federation().roster, federation().size, self

    async def follow(self) -> None:
        """Nothing moves."""

    async def grant(self, _token: bytes) -> None:
        """Nobody was granted anything."""


URL = "https://hub.example/v1/agencies/33.75/head"


@lru_cache(maxsize=1)
def _requests() -> tuple[bytes, ...]:
    """Method, address, headers by line, then a body."""
    signer, now_ms = FixedSigner(PEKALONGAN), LabClock().now_ms()
    plain = sign_request(signer, "GET", URL, now_ms=now_ms)
    posted = sign_request(signer, "POST", URL, now_ms=now_ms, body=b"{}", nonce="n" * 22)
    heads = (("GET", plain, b""), ("POST", posted, b"{}"))
    return tuple(
        "\n".join([method, URL, *(f"{name}: {value}" for name, value in headers.items())]).encode() + b"\n\n" + body
        for method, headers, body in heads
    )


def _request(data: bytes) -> object:
    """Who a request head is from: the agency that signed exactly this method, address and body, or nobody."""
    head, _, body = data.partition(b"\n\n")
    method, url, *fields = [*head.decode("latin-1").split("\n"), "", ""][: 2 + 48]
    pairs = (field.partition(": ") for field in fields if field)
    headers = CIMultiDict((name, value) for name, _, value in pairs)
    keeper = Gatekeeper(cast("HubLog", _FakeLog()), LabClock())
    reader = drive(keeper.identify(RequestHead(method, url, headers, None if method in ("GET", "HEAD") else body)))
    signed = {tuple(one.partition(b"\n\n")[0].split(b"\n")[:2]): one.partition(b"\n\n")[2] for one in _requests()}
    true_body = signed.get((method.encode("latin-1"), url.encode("latin-1")))
    # A reading call has no body: the hub looks at none.
    must(true_body is not None and (method == "GET" or true_body == body), "a request was believed that nobody signed")
    return reader


def _pass(data: bytes) -> object:
    passes = Passes(LOG, LabClock())
    if not passes.holds(text_of(data), "33.75"):
        raise Refused("unauthorised", "no pass")
    must(data == passes.issue("33.75").encode(), "a pass that was never given")
    return data


def _new_complaint(data: bytes) -> object:
    fields = parse_object(data, where="body")
    command = received_command(convert(fields, NewComplaint), LabClock().now_ms())
    request_key(cast("Any", SimpleNamespace(headers=CIMultiDict())), "create", fields)
    return command


def _change(data: bytes) -> object:
    return change_command(convert(parse_object(data, where="body"), ANY_CHANGE_REQUEST), COMPLAINT)


_SAID = {"noted": "note", "answered": "text", "replied": "text", "information_requested": "text"} | {
    "information_supplied": "text"
}


def _changes() -> list[bytes]:
    made = []
    for name in CHANGE_REQUESTS:
        body: dict[str, object] = {
            "type": name,
            "rev": 3,
            "actor": {"role": "officer", "unit": "dinas-pu"},
            **DATA[name],
        }
        if name in _SAID:
            body[_SAID[name]] = "Jalan rusak."
        if name == "attached":
            body["file"] = "A" * 43
        made.append(json.dumps(body).encode())
    return made


def _complaints() -> list[bytes]:
    born = {name: value for name, value in BORN.items() if name != "tracking"}
    said = {"text": "Jalan rusak.", "title": "Jalan", "place": "pasar", "reporter": {"name": "S", "phone": "0812"}}
    return _spelled({**born, **said, "source": {"system": "sp4n", "id": "77"}, "class": "aspiration", "sealed": "x"})


def _filter(data: bytes) -> object:
    pairs = [part.partition("=") for part in text_of(data).split("&")]
    query = MultiDict((name, value) for name, _, value in pairs)
    return read_filter(cast("Any", SimpleNamespace(query=query)), "33.75", 0)


def _claims(data: bytes) -> object:
    """What an export says of itself."""
    document = parse_object(data, where="hub.json", depth_max=8)
    claimed_from(document, document.get("projected_to"))
    return document


def targets() -> Sequence[Target]:
    """All of this module."""
    samples = _samples()
    bodies = [
        Target(
            f"wire-{kind.__name__}",
            partial(_body, kind),
            partial(_spelled, sample),
            None,
            256 * KIB if kind in SMALL else wire.BODY_MAX_BYTES,
            tuple if kind in SMALL else _largest,
            # 8 MiB are a page of an agency's own statements or verdicts, from its hub, or a call that it signed.
            1.0 if kind in SMALL else 1.5,
        )
        for kind, sample in samples.items()
    ]
    agencies = [{"agency": "33.75", "epoch": 1, "seq": 1, "digest": B64U, "index": 4, "troubles": ["x"], "kid": None}]
    return (
        *bodies,
        Target(
            "wire-StatementLines",
            partial(_bodies, wire.StatementLine),
            lambda: _spelled(_lines()),
            None,
            wire.BODY_MAX_BYTES,
            costs=1.5,
        ),
        Target(
            "wire-AgencyLines",
            partial(_bodies, wire.AgencyLine),
            lambda: _spelled(agencies),
            None,
            wire.BODY_MAX_BYTES,
            costs=1.5,
        ),
        Target("problem-answer", _problem, _problems, None, PROBLEM_MAX_BYTES),
        Target("hub-head-answer", _head_believed, _heads, None, MIB),
        Target("hub-entered-answer", _entry_believed, _entries, None, MIB),
        Target("hub-statements-answer", _statements_believed, _statements, None, wire.BODY_MAX_BYTES, costs=1.5),
        Target("signed-request", _request, lambda: list(_requests()), None, 48 * 4 * KIB),
        Target("admission-pass", _pass, lambda: [Passes(LOG, LabClock()).issue("33.75").encode()], None, 4 * KIB),
        Target("intake-complaint", _new_complaint, _complaints, None, INTAKE_MAX_BYTES),
        Target("intake-change", _change, _changes, None, INTAKE_MAX_BYTES),
        Target(
            "intake-filter",
            _filter,
            lambda: [b"state=received&limit=9", b"source_system=sp4n&source_id=7", b"due=soon&after=" + b"A" * 16],
            None,
            8 * KIB,
        ),
        Target(
            "hub-json",
            _claims,
            lambda: _spelled({"origin": ORIGIN, "projected_to": 4, "totals": {"a": 1}, "state_hash": "x"}),
            None,
            4 * MIB,
        ),
    )
