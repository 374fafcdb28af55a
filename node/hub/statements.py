"""Statements that the hub makes itself, and those that it is sent (protocol §5, §7.1 `POST /v1/statements`).

Each is made under the append lock, because it names what came before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keys import ceremony
from node.hub.draft import Prepared
from node.hub.log import HubLog
from node.ports import Clock
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused, malformed
from sync_protocol.jws import parse_jws
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.roster_state import AgencyRecord
from sync_protocol.statement import Revocation, Role, Rotation, Rules, Tick, parse_statement, sign_statement
from sync_protocol.values import AgencyId, Digest

CHECKED_ROLES = (Role.AGENCY, Role.SEALING)  # registrar and log rotate by the operator's command alone


@dataclass(frozen=True, slots=True)
class RulesDraft:
    """What the rules say, before they are signed. `deadlines` and `calendar`: SHA-256 of the tables."""

    desk: AgencyId
    deadlines: Digest
    calendar: Digest
    bounce_limit: int = 3
    silence_s: int = 14 * 24 * 3600


class Statements:
    """Makes `prepare` functions for the appender. `registrar` is asked each time: the key may have rotated."""

    def __init__(self, log: HubLog, registrar: Callable[[], Signer], clock: Clock) -> None:
        self._log = log
        self.registrar = registrar
        self._clock = clock

    async def tick(self) -> Prepared:
        """The time. Always after the tick before it, whatever the clock says: ticks never go back, and none repeats."""
        newest = self._log.roster.tick_before(self._log.size)
        at_ms = max(self._clock.now_ms(), (newest or 0) + 1)
        return Prepared(sign_statement(Tick(at=at_ms, log=self._log.roster.genesis_digest), self.registrar()))

    async def tick_if_due(self, interval_s: float) -> Prepared | int:
        """The time, unless another process told it to the log in the meantime: then where it stands."""
        if (index := self._log.roster.tick_index_before(self._log.size)) is not None and self.tick_due_s(
            interval_s
        ) > 0:
            return index
        return await self.tick()

    def tick_due_s(self, interval_s: float) -> float:
        """Seconds until the next tick is due."""
        newest = self._log.roster.tick_before(self._log.size) or 0
        return (newest - self._clock.now_ms()) / 1000 + interval_s

    def are_in_force(self, draft: RulesDraft) -> bool:
        """Whether the log's newest rules say just that."""
        rules = self._log.roster.rules_at(self._log.size)
        return rules is not None and draft == RulesDraft(
            desk=rules.desk,
            deadlines=rules.deadlines,
            calendar=rules.calendar,
            bounce_limit=rules.bounce_limit,
            silence_s=rules.silence_s,
        )

    async def rules(self, draft: RulesDraft) -> Prepared | int:
        """New rules, from their own index on; where they stand, if another process brought them already."""
        index = self._log.roster.rules_index_at(self._log.size)
        if index is not None and self.are_in_force(draft):
            return index
        rules = Rules(
            at=self._clock.now_ms(),
            log=self._log.roster.genesis_digest,
            fold=1,
            deadlines=draft.deadlines,
            calendar=draft.calendar,
            desk=draft.desk,
            bounce_limit=draft.bounce_limit,
            silence_s=draft.silence_s,
        )
        return Prepared(sign_statement(rules, self.registrar()))

    async def revocation(self, agency: AgencyId, kid: str | None, disputed_from: int, reason: str) -> Prepared | int:
        """The end of a key; where it stands already, if that key was revoked before. Without kid: the speaking key."""
        record = self._agency(agency)
        ended = kid or record.kid
        if ended is None:
            raise Refused("revoked-key", f"{agency} has no key that speaks", members={"next": "Nothing is left to do."})
        key = self._log.roster.key(ended)
        if key is not None and key.agency == agency and key.disputed_from is not None:
            return self._revoked_at(agency, ended)
        statement = ceremony.revoke(
            self.registrar(),
            log=self._log.roster.genesis_digest,
            agency=agency,
            prev=record.last_statement,
            kid=ended,
            at_ms=self._clock.now_ms(),
            disputed_from=disputed_from,
            reason=reason,
        )
        return Prepared(statement)

    async def first_look(self, text: str) -> int | None:
        """Where a statement that was sent stands already; None if it may go in as things are.

        Takes no lock, so that what strangers send, or send again, costs no append. Raises Refused.
        """
        await self._log.follow()
        prepared = await self.submitted(text)
        if isinstance(prepared, int):
            return prepared if prepared < self._log.size else None
        self._log.roster.examine(INTEGER_MAX, prepared.jws)  # wherever it will stand: only the place is not known yet
        return None

    async def submitted(self, text: str) -> Prepared | int:
        """A rotation or revocation that an agency sent; where it stands, if it is in the log already."""
        jws = parse_jws(text)
        index = await self._log.store.statement_of(jws.digest)
        if index is not None:
            return index
        statement = parse_statement(jws)
        if isinstance(statement, Rotation) and statement.role in CHECKED_ROLES:
            self._check_head(statement)
        elif not isinstance(statement, Revocation):
            raise malformed("wants an agency's rotation or revocation", "statement")
        return Prepared(jws)

    def _check_head(self, rotation: Rotation) -> None:
        """A rotation follows a drained outbox: its head is the one that we hold (protocol §10.5)."""
        if rotation.head is None or rotation.agency is None:
            return
        head = self._log.heads.get(rotation.agency)
        record = self._agency(rotation.agency)
        seq, digest = (head.seq, head.digest) if head else (0, record.enrolment)
        if (rotation.head.seq, rotation.head.digest) != (seq, digest):
            raise Refused(
                "void-statement",
                f"the rotation names another head than set {seq}",
                where="head",
                members={"statement": record.last_statement.b64u},
            )

    def _agency(self, agency: AgencyId) -> AgencyRecord:
        record = self._log.roster.agency(agency)
        if record is None:
            raise Refused("unknown-agency", f"{agency} is not enrolled")
        return record

    def _revoked_at(self, agency: AgencyId, kid: str) -> int:
        for logged in reversed(self._log.roster.statements_about(agency)):
            statement = parse_statement(logged.jws)
            if isinstance(statement, Revocation) and statement.kid == kid:
                return logged.index
        raise Refused("revoked-key", f"the key {kid} was revoked already")
