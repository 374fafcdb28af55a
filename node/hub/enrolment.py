"""Enrolment by one-time token (protocol §5.3, §7.1): the same token and key get the same answer, for ever.

The token is shown once, to the operator, and kept as a hash. It is used up in the same transaction that appends the
enrolment, so that a crash leaves both or neither.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from keys import ceremony
from node.hub.appender import Appender
from node.hub.draft import Place, Prepared
from node.hub.log import HubLog
from node.hub.statements import Statements
from node.ports import Clock, Randomness
from node.store.hub_records import Invitation
from sync_protocol.ed25519 import check_public_key, kid_of
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.possession import token_hash, verify_enrolment_proof
from sync_protocol.values import AgencyId, b64u_decode, b64u_encode
from sync_protocol.wire import EnrolmentRequest

TOKEN_BYTES: Final = 24  # 192 bits: nobody guesses it, and it still fits one line of a letter
TOKEN_MAX: Final = 128
DAY_MS: Final = 24 * 3600 * 1000


class Enrolments:
    """Invitations out, enrolments in."""

    def __init__(
        self,
        log: HubLog,
        appender: Appender,
        statements: Statements,
        *,
        clock: Clock,
        randomness: Randomness,
        invitation_days: int,
    ) -> None:
        self._log = log
        self._appender = appender
        self._statements = statements
        self._clock = clock
        self._randomness = randomness
        self._valid_ms = invitation_days * DAY_MS

    async def invite(self, agency: AgencyId) -> str:
        """A fresh token; the caller shows it once."""
        token = b64u_encode(self._randomness.bytes(TOKEN_BYTES))
        await self._log.store.add_invitation(Invitation(token_hash(token), agency, self._clock.now_ms()))
        return token

    async def enrol(self, request: EnrolmentRequest) -> Place:
        """Where the enrolment stands, at the first checkpoint that covers it: so a repeat gets the very same answer.

        Raises Refused: bad-token, bad-signature, malformed, void-statement.
        """
        agency = AgencyId.parse(request.agency)
        key = b64u_decode(request.key, 32, "key")
        check_public_key(key)
        sealing = b64u_decode(request.sealing, 32, "sealing")
        if len(request.token) > TOKEN_MAX:
            raise _bad_token()
        hashed = token_hash(request.token)
        await self._log.follow()
        invitation = await self._log.store.invitation(hashed)
        self._check(invitation, agency, kid_of(key))
        verify_enrolment_proof(
            request.proof, origin=self._log.roster.origin, agency=agency, key=key, sealing=sealing, token=request.token
        )

        async def prepare() -> Prepared | int:
            return await self._prepare(hashed, agency, key, sealing)

        place = await self._appender.append_statement(prepare)
        covering = await self._log.store.checkpoint_covering(place.index)
        if covering is None:
            raise Corrupt(f"no checkpoint covers the enrolment at log index {place.index}")
        return replace(place, checkpoint=covering)

    async def _prepare(self, hashed: bytes, agency: AgencyId, key: bytes, sealing: bytes) -> Prepared | int:
        """Under the append lock: the token is looked at again, because two may come at once."""
        kid = kid_of(key)
        invitation = self._check(await self._log.store.invitation(hashed), agency, kid)
        if invitation.used_index is not None:
            return invitation.used_index
        roster = self._log.roster
        record = roster.agency(agency)
        statement = ceremony.enrol(
            self._statements.registrar(),
            log=roster.genesis_digest,
            agency=agency,
            prev=record.last_statement if record else roster.genesis_digest,
            key=key,
            sealing=sealing,
            at_ms=self._clock.now_ms(),
        )
        return Prepared(statement, uses=replace(invitation, used_by=kid))

    def _check(self, invitation: Invitation | None, agency: AgencyId, kid: str) -> Invitation:
        """Raises Refused(bad-token), in the same words whatever is wrong: a guesser learns nothing."""
        if invitation is None or invitation.agency != agency:
            raise _bad_token()
        if invitation.used_by is None:
            if self._clock.now_ms() - invitation.created_at_ms > self._valid_ms:
                raise _bad_token()
        elif invitation.used_by != kid:
            raise _bad_token()
        return invitation


def _bad_token() -> Refused:
    return Refused("bad-token", "this token is not valid for this agency and key")
