"""The hub, put together: log, appender, intake, projector, clockwork, on the ports that wiring hands in.

A `Hub` that is opened answers commands; one that is started also takes in, projects and ticks. Commands work while
another process serves the same directory: whatever appends takes the append lock of the lock store.
"""

from __future__ import annotations

from typing import Any, Final, Self

import structlog

from keys import ceremony
from keys.signer import Ed25519Signer
from node.hub.absences import Absences
from node.hub.appender import Appender
from node.hub.clockwork import Clockwork
from node.hub.draft import Place, Prepared
from node.hub.enrolment import TOKEN_BYTES, Enrolments
from node.hub.erasing import erase_again
from node.hub.evidence import EvidenceMaker
from node.hub.gathering import Gathering
from node.hub.inbox import Inbox
from node.hub.intake import Intake
from node.hub.leader import Leader
from node.hub.log import HubLog
from node.hub.options import HubOptions
from node.hub.ports import HubPorts
from node.hub.projector import Projector
from node.hub.restoring import Restoring
from node.hub.statements import RulesDraft, Statements
from node.hub.status import hub_description, status_of
from node.hub.tracking import Tracker
from node.logs import words_of
from node.ports import Clock, Progress, no_progress
from node.store.hub_records import Grant, StoredCheckpoint
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.possession import token_hash
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId, b64u_encode
from sync_protocol.wire import HubDescription

GRANT_NAME_MAX: Final = 64  # a person or an office, on one line of a list

_logger = structlog.get_logger("simpul.hub")


class Hub:
    """See the module. Made by `open`, and closed."""

    def __init__(self, options: HubOptions, ports: HubPorts) -> None:
        self.options = options
        self.store = store = ports.store
        self.projection = ports.projection
        self.clock = clock = ports.clock
        self.randomness = ports.randomness
        self.keys = ports.keys
        self._announcements = ports.announcements
        self.lock = ports.lock
        self._turns = (ports.leading, ports.projecting)
        self._signers: dict[Role, Ed25519Signer] = {}
        self.log = HubLog(store, self.lock)
        self.appender = Appender(
            self.log,
            log_signer=lambda: self.speaking(Role.LOG),
            registrar=lambda: self.speaking(Role.REGISTRAR),
            clock=clock,
            group_max=options.group_commit_max,
            on_published=self._announce,
        )
        self.statements = Statements(self.log, lambda: self.speaking(Role.REGISTRAR), clock)
        self.enrolments = Enrolments(
            self.log,
            self.appender,
            self.statements,
            clock=clock,
            randomness=ports.randomness,
            invitation_days=options.invitation_days,
        )
        self.intake = Intake(
            self.log,
            self.appender,
            lambda: self.speaking(Role.REGISTRAR),
            clock,
            options.verify_threads,
            on_filled=self._announce,
        )
        self.deadlines = ports.deadlines
        self.absences = Absences(self.log, ports.projection)
        self.inbox = Inbox(self.log, ports.projection, EvidenceMaker(self.log))
        self.projector = Projector(
            self.log, store, ports.projection, ports.projecting, ports.deadlines, clock, self.inbox.told
        )
        self.tracker = Tracker(self.log, ports.projection, clock)
        self.leader = Leader(
            self.log,
            self.projector,
            ports.leading,
            clock,
            is_rushed=lambda: self.intake.waiting > 0,
            at_rest=self.tracker.step,
        )
        self._announcements.listen(lambda _size: self.leader.wake())
        self.gathering = Gathering(self.log, lambda: self.signer(Role.LOG), lambda: self.keys.history(Role.LOG))
        self.restoring = Restoring(self.log, self.gathering, self.projector, clock, self._announce)
        self._clockwork = self._make_clockwork(clock)
        self.started_at_ms: int | None = None

    def _make_clockwork(self, clock: Clock) -> Clockwork:
        return Clockwork(
            self.log,
            self.appender,
            self.statements,
            clock=clock,
            tick_interval_s=self.options.tick_interval_s,
            leader=self.leader,
            restoring=self.restoring,
            inbox=self.inbox,
        )

    @classmethod
    async def open(cls, options: HubOptions, ports: HubPorts) -> Self:
        """A hub whose log is read. Raises Corrupt if its state contradicts itself, having closed the ports."""
        hub = cls(options, ports)
        try:
            await hub.log.open()
        except BaseException:
            await hub.close()
            raise
        return hub

    def signer(self, role: Role) -> Ed25519Signer:
        """The key in use, read once."""
        if role not in self._signers:
            self._signers[role] = self.keys.signer(role)
        return self._signers[role]

    def speaking(self, role: Role) -> Ed25519Signer:
        """The key that speaks in the log. A rotation that a crash or another process left half-way is finished.

        While the log is not whole it does not say which key that is: then it is the one in the key file.
        """
        signer = self.signer(role)
        if not self.log.size or self.log.recovering is not None:
            return signer
        roster = self.log.roster
        speaks = roster.vkey.public_key if role is Role.LOG else roster.registrar.public_key
        if signer.public_key != speaks:
            self.keys.promote(role, speaks)
            del self._signers[role]
        return self.signer(role)

    async def start(self) -> None:
        """Takes in, projects, ticks; what was erased before an old backup came back is erased again first."""
        await self.erase_again()
        self.speaking(Role.LOG)
        self.speaking(Role.REGISTRAR)
        self.started_at_ms = self.clock.now_ms()
        await self._announcements.start()
        self.appender.start()
        if self.options.projector:
            self.leader.start()
        self._clockwork.start()

    def _announce(self, checkpoint: StoredCheckpoint) -> None:
        self.leader.wake()  # ours is nearer than the database's word
        self._announcements.publish(checkpoint.size)

    async def erase_again(self) -> None:
        """Before a set is shown to anybody: what an old backup brought back goes (erasing.py)."""
        await erase_again(self.store, self.lock)

    async def ensure_rules(self, draft: RulesDraft) -> Place | None:
        """Brings what the settings and tables say into the log, where it has its effect (protocol §5.2, §9.1).

        None if these rules are in force, or if nothing can be signed now: then a later start brings them.
        """
        if self.statements.are_in_force(draft):
            return None
        try:
            place = await self.appender.append_statement(lambda: self.statements.rules(draft))
        except Unavailable as error:
            _logger.warning("the rules stay as they were", error=words_of(error))
            return None
        _logger.warning("new rules", index=place.index)
        return place

    async def stop(self) -> None:
        """Works off what was accepted for work; then nothing runs any more."""
        await self._clockwork.stop()
        await self.appender.stop()
        await self.leader.stop()

    async def close(self) -> None:
        """Stops, and lets go of files and threads."""
        await self.stop()
        self.intake.close()
        await self.store.close()
        await self.projection.close()
        await self._announcements.close()
        self.lock.close()
        for turn in self._turns:
            turn.close()

    async def invite(self, agency: AgencyId) -> str:
        """A one-time enrolment token, shown once."""
        return await self.enrolments.invite(agency)

    async def revoke(
        self, agency: AgencyId, *, kid: str | None = None, disputed_from: int = 0, reason: str = "unspecified"
    ) -> tuple[str, Place]:
        """Ends a key (the speaking one by default): its kid and the revocation's place. Raises Refused."""
        record = self.log.roster.agency(agency)
        ended = kid or (record.kid if record else None)

        async def prepare() -> Prepared | int:
            return await self.statements.revocation(agency, ended, disputed_from, reason)

        place = await self.appender.append_statement(prepare)
        return ended or "", place

    async def grant(self, name: str, *, with_content: bool = False) -> str:
        """A bearer token for an auditor, shown once, kept hashed."""
        if not 0 < len(name) <= GRANT_NAME_MAX or not name.isprintable():
            raise Refused("malformed", f"a name has 1 to {GRANT_NAME_MAX} characters", where="name")
        token = b64u_encode(self.randomness.bytes(TOKEN_BYTES))
        await self.store.add_grant(Grant(token_hash(token), name, with_content, self.clock.now_ms()))
        return token

    async def end_grants(self, name: str) -> int:
        """Ends every token of that name; how many."""
        return await self.store.end_grants(name, self.clock.now_ms())

    async def status(self) -> dict[str, Any]:
        """What `simpul hub status --json` prints."""
        shortfall = None if self.log.recovering is None else await self.restoring.shortfall()
        return await status_of(
            self.log,
            self.projection,
            self.clock,
            projector_trouble=self.projector.trouble,
            shortfall=shortfall,
        )

    def description(self) -> HubDescription:
        """What `GET /v1/hub` says."""
        return hub_description(self.log, self.clock)

    async def rebuild(self, progress: Progress = no_progress) -> tuple[str, str]:
        """Drops and rebuilds the projection: the state hash before and after, at the same log size."""
        return await self.projector.rebuild(progress)

    async def rotate(self, role: Role) -> Place:
        """A new registrar or log key: on disk first, then in the log, then in use. May be repeated after a crash."""
        new = self.keys.prepare_next(role, self.randomness.bytes(32))
        assert isinstance(new, Ed25519Signer)
        old = self.speaking(role)
        roster = self.log.roster

        async def prepare() -> Prepared | int:
            at_ms = self.clock.now_ms()
            if role is Role.LOG:
                jws = ceremony.rotate_log(old, new, origin=roster.origin, log=roster.genesis_digest, at_ms=at_ms)
            else:
                jws = ceremony.rotate_registrar(old, new, log=roster.genesis_digest, at_ms=at_ms)
            return Prepared(jws)

        place = await self.appender.append_statement(prepare)
        self.speaking(role)
        if role is Role.LOG:
            # The old key signed the commit of its own end; whoever trusts the new one wants a checkpoint by it.
            await self.appender.append_statement(self.statements.tick)
        return place
