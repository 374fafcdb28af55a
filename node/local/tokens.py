"""API tokens of the intake: random, shown once, kept as SHA-256 (256 random bits need no slow hash)."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from node.local.ports import LocalStore
from node.ports import Clock, Randomness
from node.store.local_records import ApiToken
from sync_protocol.errors import Refused
from sync_protocol.values import b64u_encode

TOKEN_PREFIX: Final = "simpul_"  # noqa: S105 - so that scanners for leaked secrets can find one
TOKEN_MAX_CHARACTERS: Final = 128
NAME_MAX_CHARACTERS: Final = 100


async def create_token(store: LocalStore, name: str, clock: Clock, randomness: Randomness) -> str:
    """A new token for `name`; several of one name may live side by side. Raises Refused(configuration)."""
    if not name.strip() or len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        raise Refused("configuration", "a token's name has 1 to 100 printable characters")
    token = TOKEN_PREFIX + b64u_encode(randomness.bytes(32))
    await store.add_token(ApiToken(_hash(token), name, clock.now_ms()))
    return token


async def revoke_tokens(store: LocalStore, name: str, clock: Clock) -> int:
    """Ends every living token of that name, at once and in every process; how many."""
    return await store.end_tokens(name, clock.now_ms())


async def check_bearer(store: LocalStore, authorization: str | None) -> ApiToken:
    """The living token that an Authorization header shows. Raises Refused(unauthorised)."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > TOKEN_MAX_CHARACTERS:
        raise Refused("unauthorised", "this needs a header Authorization: Bearer <token>")
    held = await store.token(_hash(token))
    if held is None or held.ended_at_ms is not None:
        raise Refused("unauthorised", "this token is not known, or was revoked")
    return held


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
