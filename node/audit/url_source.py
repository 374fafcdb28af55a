"""An audit of a live hub over HTTP. Without a token the public part alone: log, statements, chains of manifests."""

from __future__ import annotations

from collections.abc import Mapping
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from node.audit.source import (
    DESCRIPTION_MAX_BYTES,
    ENTRY_BUNDLE_MAX_BYTES,
    HASH_TILE_BYTES,
    ClaimedFigures,
    claimed_deadlines_from,
    claimed_from,
    claims_document,
)
from sync_protocol.errors import Refused, Unavailable, too_large
from sync_protocol.limits import NOTE_MAX_BYTES, WIRE_MAX_BYTES
from sync_protocol.merkle import HASH_BYTES
from sync_protocol.tiles import TILE_WIDTH, TileRef, entries_path, pack_entries, tile_path, unpack_entries

TOTAL_TIMEOUT_S: Final = 60.0
CONNECT_TIMEOUT_S: Final = 10.0
_ATTEMPTS: Final = 3


class UrlSource:
    """A hub's public addresses, and with a token the sets and figures as well."""

    holds_every_tile = False
    may_grow = True

    def __init__(self, url: str, *, token: str | None, tls: SSLContext | None = None) -> None:
        self.name = url
        self._base = URL(url.rstrip("/") + "/")
        self._token = token
        self.holds_every_set = token is not None
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TOTAL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            connector=aiohttp.TCPConnector(ssl=tls if tls is not None else True),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            auto_decompress=False,
        )

    async def described(self) -> None:
        """Nothing: what is read is the log that answers here, and its checkpoint says which one that is."""

    async def checkpoint(self) -> bytes:
        return await self._need("checkpoint", NOTE_MAX_BYTES)

    async def entry_bundle(self, reference: TileRef) -> bytes | None:
        bundle = await self._get(reference.path, ENTRY_BUNDLE_MAX_BYTES)
        if bundle is not None or reference.width == TILE_WIDTH:
            return bundle
        # The log has grown since its checkpoint was read: a partial tile may go once the full one is there (C2SP).
        full = await self._get(entries_path(reference.index), ENTRY_BUNDLE_MAX_BYTES)
        return None if full is None else pack_entries(unpack_entries(full, TILE_WIDTH)[: reference.width])

    async def hash_tile(self, reference: TileRef) -> bytes | None:
        tile = await self._get(reference.path, HASH_TILE_BYTES)
        if tile is not None or reference.width == TILE_WIDTH:
            return tile
        assert reference.level is not None
        full = await self._get(tile_path(reference.level, reference.index), HASH_TILE_BYTES)
        return None if full is None else full[: reference.width * HASH_BYTES]

    async def change_set(self, agency: str, seq: int) -> bytes | None:
        if self._token is None:
            return None
        return await self._get(f"v1/agencies/{agency}/change-sets/{seq}", WIRE_MAX_BYTES)

    async def claimed_figures(self) -> ClaimedFigures | None:
        if self._token is None:
            return None
        body = await self._get("v1/totals", DESCRIPTION_MAX_BYTES)
        if body is None:
            return None
        document = claims_document(body, "v1/totals")
        as_of = document.get("as_of")
        return claimed_from(document, as_of.get("size") if isinstance(as_of, dict) else None)

    async def claimed_deadlines(self) -> Mapping[str, Any] | None:
        """Page by page; None as well if the hub moved on between two of them."""
        whole: dict[str, Any] | None = None
        after: object = ""
        while self._token is not None and isinstance(after, str):
            query = f"&after={quote(after)}" if after else ""
            body = await self._get(f"v1/deadlines?limit=100{query}", DESCRIPTION_MAX_BYTES)
            page = None if body is None else claimed_deadlines_from(body, "v1/deadlines")
            if page is None or (whole is not None and page["size"] != whole["size"]):
                return None
            page["agencies"] = {**({} if whole is None else whole["agencies"]), **page["agencies"]}
            whole, after = page, page["next"]
        return whole

    async def close(self) -> None:
        await self._session.close()

    async def _need(self, path: str, limit: int) -> bytes:
        body = await self._get(path, limit)
        if body is None:
            raise Refused("not-found", f"{self.name} has no /{path}", where=path)
        return body

    async def _get(self, path: str, limit: int) -> bytes | None:
        """The body, or None for 404. Raises Unavailable, or Refused for any other answer."""
        last: Exception | None = None
        for _ in range(_ATTEMPTS):
            try:
                return await self._get_once(path, limit)
            except (aiohttp.ClientError, TimeoutError) as error:
                last = error
        raise Unavailable(f"{self.name} did not answer: {type(last).__name__} {last}")

    async def _get_once(self, path: str, limit: int) -> bytes | None:
        url = self._base.join(URL(path))
        # A redirect could lead where the token is read by others.
        async with self._session.get(url, allow_redirects=self._token is None) as response:
            if response.status == 404:
                return None
            if response.status in {401, 403}:
                raise Refused("unauthorised", f"{self.name} wants another token for /{path}", where=path)
            if response.status != 200:
                raise Unavailable(f"{self.name} answered {response.status} for /{path}")
            body = bytearray()
            async for piece in response.content.iter_chunked(65_536):
                body += piece
                if len(body) > limit:
                    raise too_large(path, limit)
            return bytes(body)
