"""Uploads of files, and files of complaints (protocol §13.1): tus 1.0.0, for browsers and telephones on bad lines.

    POST /v1/files             begins: Upload-Length, Upload-Metadata (filetype, sha256)      201, Location
    HEAD /v1/files/{upload}    how far it came: Upload-Offset
    PATCH /v1/files/{upload}   goes on from Upload-Offset; the last one answers with Simpul-File
    GET, DELETE                the same in JSON; gives it up

What comes is written as it comes, so that a cut loses nothing that arrived.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final

import msgspec
from aiohttp import web

from node.files.disk import NoRoom
from node.files.http_answer import file_answer
from node.files.incoming import wrong_offset
from node.files.limits import SENDING_MAX
from node.files.uploads import Upload
from node.local.evidence import find_complaint
from node.local.files import NodeFiles
from node.local.http_problems import FILES_FULL, TIMEOUT, TUS, TUS_VERSION, UNSUPPORTED_TYPE
from node.local.http_requests import TOKEN_NAME
from node.local.ports import LocalStore
from sync_protocol.errors import Refused, Unavailable, malformed, too_large
from sync_protocol.limits import LINE_SLOWEST_BYTES_S
from sync_protocol.values import Digest

EXTENSIONS: Final = "creation,expiration,termination"
BYTES: Final = "application/offset+octet-stream"
FILE_HEADER: Final = "Simpul-File"  # SHA-256 of what is kept, base64url: what an `attached` change names
SILENCE_S: Final = 60.0  # a line that says nothing for longer is gone; the client comes again, from the offset
WRITE_BYTES: Final = 256 * 1024  # written at one time
METADATA_PAIRS_MAX: Final = 16  # two are read; clients send names and relative paths as well
FILE_ROUTES: Final = frozenset({"/v1/files/{upload}", "/v1/complaints/{complaint}/files/{file}"})  # their own patience

_NUMBER: Final = re.compile("0|[1-9][0-9]{0,15}")
_PAIR: Final = re.compile(r"([!-+\--~]{1,64})(?: ([A-Za-z0-9+/]*={0,2}))?")


class UploadState(msgspec.Struct, frozen=True, kw_only=True):
    """How far an upload came. `file`, `bytes`, `media_type` are of what is kept, null until all of it is here."""

    upload: str
    offset: int
    length: int
    file: str | None
    bytes: int | None
    media_type: str | None


@dataclass(frozen=True, slots=True)
class FileCalls:
    """The handlers and what they stand on."""

    files: NodeFiles
    store: LocalStore
    sending: Counter[str] = field(default_factory=Counter)

    async def options(self, _request: web.Request) -> web.Response:
        """`OPTIONS /v1/files`: what is spoken here."""
        size = str(self.files.store.limits.file_max)
        return _empty(204, {"Tus-Version": TUS, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": size})

    async def begin(self, request: web.Request) -> web.Response:
        """`POST /v1/files`."""
        _check_tus(request)
        length = _number(request, "Upload-Length")
        said = read_metadata(request.headers.get("Upload-Metadata", ""))
        digest = Digest.parse(said["sha256"], "Upload-Metadata.sha256") if "sha256" in said else None
        with _room_told():
            upload = await asyncio.to_thread(
                self.files.uploads.begin, request[TOKEN_NAME], length, said.get("filetype"), digest
            )
        return _state(upload, 0, status=201, headers={"Location": f"/v1/files/{upload.id}"})

    async def head(self, request: web.Request) -> web.Response:
        """`HEAD /v1/files/{upload}`."""
        _check_tus(request)
        upload, offset = await self._look(request)
        return _empty(200, _headers(upload, offset))

    async def read(self, request: web.Request) -> web.Response:
        """`GET /v1/files/{upload}`."""
        upload, offset = await self._look(request)
        return _state(upload, offset)

    async def go_on(self, request: web.Request) -> web.Response:
        """`PATCH /v1/files/{upload}`."""
        _check_tus(request)
        if request.content_type != BYTES:
            step = {"next": f"Send Content-Type: {BYTES}."}
            raise Refused(UNSUPPORTED_TYPE, f"wants Content-Type: {BYTES}", where="Content-Type", members=step)
        upload = await self._find(request)
        offset = _number(request, "Upload-Offset")
        if offset + (request.content_length or 0) > upload.length:
            raise too_large("file", upload.length)
        with _room_told(), self._one_more(request[TOKEN_NAME]):
            offset = await self._take(request, upload, offset)
            if offset == upload.length:
                upload = await asyncio.to_thread(self.files.uploads.finish, upload)
        return _empty(204, _headers(upload, offset))

    async def give_up(self, request: web.Request) -> web.Response:
        """`DELETE /v1/files/{upload}`."""
        _check_tus(request)
        await asyncio.to_thread(self.files.uploads.drop, await self._find(request))
        return _empty(204, {})

    async def override(self, request: web.Request) -> web.Response:
        """`POST /v1/files/{upload}` with X-HTTP-Method-Override, where a proxy knows no PATCH."""
        calls: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
            "PATCH": self.go_on,
            "DELETE": self.give_up,
        }
        call = calls.get(request.headers.get("X-HTTP-Method-Override", ""))
        if call is None:
            raise web.HTTPMethodNotAllowed("POST", ["DELETE", "GET", "HEAD", "PATCH"])
        return await call(request)

    async def of_complaint(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/complaints/{complaint}/files/{file}`."""
        file = Digest.parse(request.match_info["file"], "file")
        held = await find_complaint(self.store, request.match_info["complaint"])
        with _room_told():
            await self.files.of_complaint(held, file)
        return await asyncio.to_thread(file_answer, self.files.store, file)

    async def _find(self, request: web.Request) -> Upload:
        return await asyncio.to_thread(self.files.uploads.find, request[TOKEN_NAME], request.match_info["upload"])

    async def _look(self, request: web.Request) -> tuple[Upload, int]:
        """An upload, finished if all its bytes are here: a process may have died just before."""
        upload = await self._find(request)
        with _room_told():
            upload = await asyncio.to_thread(self.files.uploads.finish, upload)
        return upload, await asyncio.to_thread(self.files.uploads.offset, upload)

    @contextmanager
    def _one_more(self, who: str) -> Iterator[None]:
        """Raises Unavailable where a client sends too many at once."""
        if self.sending[who] >= SENDING_MAX:
            raise Unavailable(f"{SENDING_MAX} files are on their way from this client", retry_after_s=2)
        self.sending[who] += 1
        try:
            yield
        finally:
            self.sending[who] -= 1
            if not self.sending[who]:
                del self.sending[who]

    async def _take(self, request: web.Request, upload: Upload, offset: int) -> int:
        """Writes what comes, as it comes; how far the upload is then. What arrived stays, however this ends."""
        here = await asyncio.to_thread(self.files.uploads.offset, upload)
        if here != offset:
            raise wrong_offset(here)  # before a body is read for nothing
        arriving = _Arriving(request)
        while not arriving.is_over:
            some = await arriving.some()
            if some:
                offset = await asyncio.to_thread(self.files.uploads.append, upload, offset, some)
        if arriving.trouble is not None:
            raise arriving.trouble
        return offset


class _Arriving:
    """A body, in parts of about WRITE_BYTES; `trouble` is what ended it before its end."""

    def __init__(self, request: web.Request) -> None:
        self._content = request.content
        self._begun_s = asyncio.get_running_loop().time()
        self._size = 0
        self.is_over = False
        self.trouble: Refused | None = None

    async def some(self) -> bytes:
        """The next part; what came before a cut is one as well."""
        part = bytearray()
        while len(part) < WRITE_BYTES and not self.is_over:
            piece = await self._piece()
            self.is_over = not piece
            part += piece
        return bytes(part)

    async def _piece(self) -> bytes:
        left_s = self._begun_s + SILENCE_S + self._size / LINE_SLOWEST_BYTES_S - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(SILENCE_S, max(left_s, 0.0))):
                piece = await self._content.readany()
        except TimeoutError:
            self.trouble = Refused(TIMEOUT, "the line was silent, or too slow; HEAD tells from where to go on")
            return b""
        except (web.RequestPayloadError, ConnectionError):
            self.trouble = malformed("the body broke off; HEAD tells from where to go on", "body")
            return b""
        self._size += len(piece)
        return piece


def add_routes(app: web.Application, files: NodeFiles, store: LocalStore) -> None:
    """The calls of this module."""
    calls = FileCalls(files, store)
    app.router.add_options("/v1/files", calls.options)
    app.router.add_post("/v1/files", calls.begin)
    app.router.add_head("/v1/files/{upload}", calls.head)
    app.router.add_get("/v1/files/{upload}", calls.read, allow_head=False)
    app.router.add_patch("/v1/files/{upload}", calls.go_on)
    app.router.add_delete("/v1/files/{upload}", calls.give_up)
    app.router.add_post("/v1/files/{upload}", calls.override)
    app.router.add_get("/v1/complaints/{complaint}/files/{file}", calls.of_complaint)


@contextmanager
def _room_told() -> Iterator[None]:
    """A want of room has its own answer here: the client can do nothing, somebody must make room."""
    try:
        yield
    except NoRoom as full:
        raise Refused(FILES_FULL, full.detail) from None


def _check_tus(request: web.Request) -> None:
    if request.headers.get("Tus-Resumable") != TUS:
        raise Refused(TUS_VERSION, f"wants Tus-Resumable: {TUS}", where="Tus-Resumable")


def _number(request: web.Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise malformed("wants a whole number", name)
    return int(text)


def read_metadata(text: str) -> dict[str, str]:
    """`filetype` and `sha256` of `Upload-Metadata`; what else is in it, a file's name for one, is not kept."""
    pairs = [_PAIR.fullmatch(part.strip()) for part in text.split(",")] if text else []
    if len(pairs) > METADATA_PAIRS_MAX or None in pairs:
        raise malformed("wants pairs of a key and base64, joined by commas", "Upload-Metadata")
    said: dict[str, str] = {}
    for pair in pairs:
        if pair is not None and pair[1] in ("filetype", "sha256") and pair[2]:
            try:
                said[pair[1]] = b64decode(pair[2], validate=True).decode("ascii")
            except ValueError:
                raise malformed("wants base64 of ASCII", f"Upload-Metadata.{pair[1]}") from None
    return said


def _headers(upload: Upload, offset: int) -> dict[str, str]:
    told = {"Upload-Offset": str(offset), "Upload-Length": str(upload.length)}
    if upload.file is None:
        return {**told, "Upload-Expires": formatdate(upload.expires_at_ms / 1000, usegmt=True)}
    return {**told, FILE_HEADER: upload.file}


def _empty(status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, headers={"Tus-Resumable": TUS, **headers})


def _state(upload: Upload, offset: int, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = UploadState(
        upload=upload.id,
        offset=offset,
        length=upload.length,
        file=upload.file,
        bytes=upload.bytes,
        media_type=upload.kept_as,
    )
    all_headers = {"Tus-Resumable": TUS, **_headers(upload, offset), **(headers or {})}
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json", headers=all_headers
    )
