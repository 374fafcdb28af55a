"""What the hub says of itself and of its agencies. Health is the age of the last set, never "the process runs"."""

from __future__ import annotations

from typing import Any, Final

from node.hub.log import HubLog
from node.hub.projection_ports import ProjectionStore
from node.hub.restoring import Shortfall
from node.ports import Clock
from node.store.hub_records import Fork, MissingSet
from sync_protocol import limits
from sync_protocol.ledger import format_state_hash
from sync_protocol.roster_state import AgencyRecord
from sync_protocol.values import Digest, b64_encode, format_timestamp
from sync_protocol.wire import FOLD_VERSION, PROTOCOL_VERSION, AgencyLine, HubDescription

SILENT_AFTER_S: Final = 26 * 3600  # an idle node signs a heartbeat daily; two hours for its clock and its line
MISSING_SHOWN_MAX: Final = 100  # sets without lines, by name
_LIMITS: Final = {
    "change_line": limits.CHANGE_LINE_MAX_BYTES,
    "content_line": limits.CONTENT_LINE_MAX_BYTES,
    "set_leaves": limits.SET_MAX_LEAVES,
    "set_bytes": limits.SET_MAX_BYTES,
    "wire_bytes": limits.WIRE_MAX_BYTES,
    "jws": limits.JWS_MAX_BYTES,
    "fork_jws": limits.FORK_JWS_MAX_BYTES,
    "nesting": limits.JSON_DEPTH_MAX,
    "complaint_changes": limits.COMPLAINT_CHANGES_MAX,
}


def hub_description(log: HubLog, clock: Clock) -> HubDescription:
    """`GET /v1/hub`."""
    return HubDescription(
        origin=log.roster.origin,
        vkey=log.roster.vkey.format(),
        genesis=log.roster.statements_for("")[0].jws.text,
        protocol=PROTOCOL_VERSION,
        fold=FOLD_VERSION,
        limits=_LIMITS,
        time=format_timestamp(clock.now_ms()),
        size=log.size,
    )


async def agency_lines(log: HubLog, clock: Clock) -> list[AgencyLine]:
    """`GET /v1/agencies`: every agency ever enrolled."""
    forks = await log.store.forks()
    return [_line(log, record, _troubles(log, record, forks, clock.now_ms())) for record in log.roster.agencies]


def _line(log: HubLog, record: AgencyRecord, troubles: list[str]) -> AgencyLine:
    head, stored = log.heads.get(record.agency), log.stored_heads.get(record.agency)
    if head is None or stored is None:
        enrolled = record.enrolled_index
        return AgencyLine(
            agency=str(record.agency),
            epoch=1,
            seq=0,
            digest=record.enrolment.b64u,
            index=enrolled,
            troubles=troubles,
            kid=record.kid,
        )
    return AgencyLine(
        agency=str(record.agency),
        epoch=head.epoch,
        seq=head.seq,
        digest=head.digest.b64u,
        index=stored.index,
        troubles=troubles,
        kid=record.kid,
    )


def _troubles(log: HubLog, record: AgencyRecord, forks: list[Fork], now_ms: int) -> list[str]:
    """Words that a person acts on; empty is well."""
    found = [f"forked at epoch {fork.epoch} seq {fork.seq}" for fork in forks if fork.agency == record.agency]
    found += [
        f"disputed from seq {key.disputed_from} on, by the revocation of key {key.kid[:12]}"
        for key in log.roster.keys_of(record.agency)
        if key.disputed_from
    ]
    if record.kid is None:
        found.append("its key was revoked and none speaks")
    stored = log.stored_heads.get(record.agency)
    if stored is not None and now_ms - stored.received_at_ms > SILENT_AFTER_S * 1000:
        found.append(f"silent for {(now_ms - stored.received_at_ms) // 3_600_000} hours")
    return found


async def status_of(
    log: HubLog,
    projection: ProjectionStore,
    clock: Clock,
    *,
    projector_trouble: str | None,
    shortfall: Shortfall | None = None,
) -> dict[str, Any]:
    """`simpul hub status --json`; `lag` counts an agency's sets that are not projected yet.

    While recovering, `shortfall` is what is missing still, and of a log that is lost as a whole nothing else is known.
    """
    missing = await log.store.missing_sets(MISSING_SHOWN_MAX + 1)
    recovering = log.recovering and f"{log.recovering} {shortfall.words() if shortfall else ''}".strip()
    cursor = await projection.cursor()
    waiting = await log.store.sets_after(cursor.size)
    now_ms = clock.now_ms()
    agencies = []
    for line in await agency_lines(log, clock):
        stored = log.stored_heads.get(line.agency)
        age_s = None if stored is None else max(0.0, (now_ms - stored.received_at_ms) / 1000)
        agencies.append(
            {
                "agency": line.agency,
                "seq": line.seq,
                "epoch": line.epoch,
                "digest": line.digest,
                "kid": line.kid,
                "age_s": age_s,
                "lag": waiting.get(line.agency, 0),
                "troubles": line.troubles,
            }
        )
    return {
        "origin": log.roster.origin if log.size else None,
        "vkey": log.roster.vkey.format() if log.size else None,
        "log": {"size": log.size, "root": b64_encode(log.published.root)},
        "agencies": agencies,
        "projected_to": cursor.size,
        "state_hash": format_state_hash(cursor.state_hash),
        "forks": [_fork_line(fork) for fork in await log.store.forks()],
        "missing_sets": [{"agency": one.agency, "seq": one.seq, "index": one.index} for one in missing],
        "recovery": None if shortfall is None else shortfall.document(),
        "troubles": [trouble for trouble in (recovering, projector_trouble, _missing_words(missing)) if trouble],
    }


def _missing_words(missing: list[MissingSet]) -> str | None:
    if not missing:
        return None
    named = ", ".join(f"{one.agency} set {one.seq}" for one in missing[:MISSING_SHOWN_MAX])
    more = " and more" if len(missing) > MISSING_SHOWN_MAX else ""
    return (
        f"Lost with the database: the lines of {named}{more}. The query tables stand still before the first of them. "
        "Their nodes are asked for them, and `simpul hub recover DIR --from COPY` looks in a copy of the log; what "
        "neither has is gone for good."
    )


def _fork_line(fork: Fork) -> dict[str, Any]:
    return {
        "agency": fork.agency,
        "epoch": fork.epoch,
        "seq": fork.seq,
        "digests": [Digest(fork.held_digest).b64u, Digest(fork.other_digest).b64u],
        "manifests": [fork.held.decode("ascii"), fork.other.decode("ascii")],
        "index": fork.statement_index,
        "at": format_timestamp(fork.at_ms),
    }
