"""Who may read what is not public: an agency by a signed request (RFC 9421), an auditor by a bearer token (§7.1).

What is wrong with a request is `unauthorised`; what is wrong with its key is told by the kinds that a set is refused
with. A node halts for the second and never for the first, which a wrong clock or a misled proxy is enough for.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, InvalidSignature
from http_message_signatures.algorithms import ED25519
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from node.hub.log import HubLog
from node.ports import Clock
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.limits import CLOCK_SKEW_MAX_S, REQUEST_LIFETIME_MAX_S
from sync_protocol.possession import token_hash
from sync_protocol.values import AgencyId, format_timestamp
from sync_protocol.wire import SIGNATURE_TAG

NONCE_MAX_CHARACTERS: Final = 128  # ours have 22; each is remembered for three minutes
NONCES_MAX: Final = 100_000  # three minutes of changing requests; beyond it the hub is not what such a caller needs
TOKEN_MAX: Final = 256
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_REQUIRED: Final = ("@method", "@target-uri")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a signature covers. `url` is the address as the caller saw it; `body` None where there is none."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who proved who they are: an agency, or an auditor (`agency` None)."""

    name: str
    agency: AgencyId | None
    with_content: bool


class Gatekeeper:
    """Checks requests. Keeps the nonces of the last minutes, in memory: each process its own.

    What changes something and is signed may so be repeated once at another process; all of it is idempotent (§10.6).
    """

    def __init__(self, log: HubLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._nonces: dict[tuple[str, str], int] = {}

    async def identify(self, request: RequestHead) -> Reader:
        """Raises Refused: unauthorised; for a key that may not: unknown-key, revoked-key.

        What it may read afterwards is as new as whatever the caller was told before, by whichever process of this hub.
        """
        await self._log.follow()
        authorization = request.headers.get("Authorization", "")
        if authorization[:7].lower() == "bearer ":
            return await self._auditor(authorization[7:].strip())
        if "Signature" in request.headers:
            return self._agency(request)
        raise Refused("unauthorised", "wants a signed request or an auditor's token")

    async def _auditor(self, token: str) -> Reader:
        if not 0 < len(token) <= TOKEN_MAX or not token.isascii():
            raise Refused("unauthorised", "this token is not known")
        grant = await self._log.store.grant(token_hash(token))
        if grant is None or grant.ended_at_ms is not None:
            raise Refused("unauthorised", "this token is not known, or has ended")
        return Reader(grant.name, None, grant.with_content)

    def _agency(self, request: RequestHead) -> Reader:
        changes = request.method not in _SAFE_METHODS
        try:
            results = _Verifier(self._log, self._clock.now_ms()).verify(
                request,
                expect_tag=SIGNATURE_TAG,
                require_components=(*_REQUIRED, "content-digest") if request.body else _REQUIRED,
                max_age=datetime.timedelta(seconds=REQUEST_LIFETIME_MAX_S),
                body=request.body,
            )
        except InvalidSignature as error:
            raise _reason(error) from None
        except (HTTPMessageSignaturesException, ValueError) as error:
            raise Refused("unauthorised", f"the request's signature cannot be read: {error}") from None
        if len(results) != 1:
            raise Refused("unauthorised", "wants one signature")
        kid = str(results[0].parameters["keyid"])
        if changes:
            self._spend(kid, results[0].nonce)
        key = self._log.roster.key(kid)
        assert key is not None  # the resolver found it
        assert key.agency is not None
        return Reader(key.agency, key.agency, with_content=True)

    def _spend(self, kid: str, nonce: str | None) -> None:
        """A nonce works once within the life of a request."""
        now_ms = self._clock.now_ms()
        if not nonce or len(nonce) > NONCE_MAX_CHARACTERS:
            raise Refused("unauthorised", "wants a nonce for what changes something", where="nonce")
        if (kid, nonce) in self._nonces:
            raise Refused("unauthorised", "this request came before", where="nonce")
        if len(self._nonces) >= NONCES_MAX:
            self._nonces = {spent: until for spent, until in self._nonces.items() if until > now_ms}
            if len(self._nonces) >= NONCES_MAX:
                raise Unavailable("too many requests that change something", retry_after_s=10)
        self._nonces[kid, nonce] = now_ms + (REQUEST_LIFETIME_MAX_S + 2 * CLOCK_SKEW_MAX_S) * 1000


def check_agency(reader: Reader, agency: str) -> None:
    """Auditors read everybody's, agencies their own. Raises Refused(wrong-agency)."""
    if reader.agency is not None and reader.agency != agency:
        raise Refused("wrong-agency", f"this key is {reader.agency}'s", where="agency")


class _Keys(HTTPSignatureKeyResolver):
    """The roster, as the library asks for it: keys that speak now."""

    def __init__(self, log: HubLog) -> None:
        self._log = log

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:
        key = self._log.roster.key(key_id)
        if key is None or key.agency is None:
            raise Refused("unknown-key", "this key was never enrolled")
        if not key.speaks_at(self._log.size):
            raise Refused("revoked-key", f"this key stopped speaking at log index {key.until_index}")
        return Ed25519PublicKey.from_public_bytes(key.public_key)

    def resolve_private_key(self, key_id: str) -> Any:
        raise Refused("unknown-key", f"the hub signs no requests ({key_id})")


class _Verifier(HTTPMessageVerifier):
    """The library's verifier on our clock, with an end to every request (protocol §7.1)."""

    def __init__(self, log: HubLog, now_ms: int) -> None:
        super().__init__(signature_algorithm=ED25519, key_resolver=_Keys(log))
        self._now_ms = now_ms

    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:  # noqa: ARG002 - the library's
        created, expires = sig_input.params.get("created"), sig_input.params.get("expires")
        if type(created) is not int or type(expires) is not int:
            raise InvalidSignature("wants created and expires")
        if not 0 < expires - created <= REQUEST_LIFETIME_MAX_S:
            raise InvalidSignature(f"a request lives {REQUEST_LIFETIME_MAX_S} seconds at most")
        now_s = self._now_ms / 1000
        if created > now_s + CLOCK_SKEW_MAX_S:
            raise self._off("the request was made in the future: compare the clocks")
        if expires < now_s - CLOCK_SKEW_MAX_S:
            raise self._off("the request is over its time: compare the clocks")

    def _off(self, detail: str) -> Refused:
        """With our time, so that the caller sees by how much his is off."""
        return Refused("unauthorised", detail, members={"time": format_timestamp(self._now_ms)})


def _reason(error: InvalidSignature) -> Refused:
    """Our own refusal, if the library wrapped one."""
    inner = error.args[0] if error.args else None
    for found in (inner, error.__cause__, error.__context__):
        if isinstance(found, Refused):
            return found
    return Refused("unauthorised", f"the request's signature does not hold: {error}")
