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
CHANNELS: Final = frozenset({"open311"})  # a token called `<channel>/<client>` is for that channel and nothing else
_TOKEN_BYTES: Final = 32
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_BEARER: Final = re.compile(r"[Bb]earer +([A-Za-z0-9_-]{43})")


async def create_token(store: LocalStore, clock: Clock, randomness: Randomness, name: str) -> str:
    """A new token for `name`, 43 characters, never to be seen again; several of one name may live side by side.

    Raises Refused(configuration) for a name that is not printable, and for one that looks like a channel's and is none:
    `open311/` of an empty variable would open the whole intake to a program of others.
    """
    if not name.strip() or len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        detail = f"a token's name has 1 to {NAME_MAX_CHARACTERS} printable characters"
        raise Refused("configuration", detail, where="name")
    channel = name.partition("/")[0].strip().casefold()
    if "/" in name and channel in CHANNELS and channel_of(name) is None:
        raise Refused("configuration", f"a token of the channel {channel} is called {channel}/<client>", where="name")
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
    held = await _living(store, wanted)
    if held is None:
        raise Refused("unauthorised", "this token is not known, or was revoked")
    if channel_of(held.name) is not None:
        raise Refused("unauthorised", f"this token is for the channel {channel_of(held.name)} alone")
    return held


async def check_channel_key(store: LocalStore, channel: str, shown: str | None) -> str:
    """The client that a living token of that channel was made for. Raises Refused(unauthorised)."""
    if shown is None or not _TOKEN.fullmatch(shown):
        raise Refused("unauthorised", "an api_key is needed, and this is none")
    held = await _living(store, _hash(shown))
    if held is None or channel_of(held.name) != channel:
        raise Refused("unauthorised", f"this api_key is not known for {channel}, or was revoked")
    return held.name.removeprefix(f"{channel}/")


def channel_of(name: str) -> str | None:
    """The one channel that a token of this name is for; None for a token of the whole intake.

    Programs of others hold keys of a channel, and shall not read with them what officers read.
    """
    channel, slash, client = name.partition("/")
    return channel if slash and client.strip() and channel in CHANNELS else None


async def _living(store: LocalStore, wanted: bytes) -> ApiToken | None:
    held = await store.token(wanted)
    is_good = held is not None and held.ended_at_ms is None and hmac.compare_digest(held.hash, wanted)
    return held if is_good else None


def _hash(token: str) -> bytes:
    return sha256(token.encode("ascii")).digest()
