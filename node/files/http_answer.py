"""A file as the answer to a request: to be saved, not to be shown or run, in whole or in part (RFC 9110 §14)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.files.media import HEAD_BYTES, sniff
from node.files.store import FileStore
from sync_protocol.values import Digest

_SUFFIXES: Final = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/heic": "heic",
    "application/pdf": "pdf",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/3gpp": "3gp",
    "audio/mp4": "m4a",
    "audio/ogg": "ogg",
}
_UNKNOWN: Final = "application/octet-stream"


def file_answer(store: FileStore, digest: Digest) -> web.FileResponse:
    """Of a file that is here and was verified. Blocks for a moment.

    Its type is what its bytes say; its name is made of its hash: the one that somebody gave it is in the content line.
    """
    media_type = sniff(store.head(digest, HEAD_BYTES)) or _UNKNOWN
    name = f"{digest.hex()[:16]}.{_SUFFIXES.get(media_type, 'bin')}"
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "no-store",
    }
    return web.FileResponse(store.path_of(digest), headers=headers)
