"""API tokens of the intake: random, shown once, kept as SHA-256 (256 random bits need no slow hash)."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from node.local.ports import LocalStore
from node.ports import Clock, Randomness
from node.store.local_records import ApiToken
from sync_protocol.errors import Refused
from sync_protocol.values import b64u_encode

NAME_MAX_CHARACTERS: Final = 100  # a program's or a counter's name, for logs and for revoking
_TOKEN_BYTES: Final = 32
_BEARER: Final = re.compile(r"[Bb]earer +([A-Za-z0-9_-]{43})")


async def create_token(store: LocalStore, clock: Clock, randomness: Randomness, name: str) -> str:
    """A new token for `name`, 43 characters, never to be seen again; several of one name may live side by side.

    Raises Refused(configuration) for a name that is not printable.
    """
    if not name.strip() or len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        detail = f"a token's name has 1 to {NAME_MAX_CHARACTERS} printable characters"
        raise Refused("configuration", detail, where="name")
    token = b64u_encode(randomness.bytes(_TOKEN_BYTES))
    await store.add_token(ApiToken(_hash(token), name, clock.now_ms()))
    return token


async def revoke_token(store: LocalStore, clock: Clock, name: str) -> int:
    """Ends every living token of that name, at once and in every process; how many."""
    return await store.end_tokens(name, clock.now_ms())


async def check_bearer(store: LocalStore, authorization: Sequence[str]) -> ApiToken:
    """The living token that the one Authorization header shows. Raises Refused(unauthorised).

    What is looked up is the hash: how long that takes says nothing about a token that somebody guesses at.
    """
    shown = _BEARER.fullmatch(authorization[0].strip()) if len(authorization) == 1 else None
    if shown is None:
        raise Refused("unauthorised", "this needs a header Authorization: Bearer <token>")
    wanted = _hash(shown[1])
    held = await store.token(wanted)
    if held is None or held.ended_at_ms is not None or not hmac.compare_digest(held.hash, wanted):
        raise Refused("unauthorised", "this token is not known, or was revoked")
    return held


def _hash(token: str) -> bytes:
    return sha256(token.encode("ascii")).digest()
