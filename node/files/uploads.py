"""Uploads from a node's clients: begun, continued after every cut, checked, cleaned, and kept (protocol §13.1 – §13.3).

What was announced stands beside the bytes in `incoming/`, so that an upload outlives the process; it belongs to the
client that began it. When the last byte is here, the whole is verified against its hash, its type is looked at, what
must not leak is taken out, and it moves into the store under the hash of what is kept. Asking again tells the same.
Everything here blocks: it is called in threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Final

import msgspec

from node.files.disk import make_folder, open_new, room_watched
from node.files.incoming import Incoming
from node.files.limits import COPY_BYTES, UPLOAD_LIFETIME_MS, UPLOADS_MAX
from node.files.media import HEAD_BYTES, check_claim, clean
from node.files.pieces import Source, read_pieces
from node.files.store import FileStore, StoredFile
from node.ports import Clock, Randomness
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.values import Digest

FILE_DIFFERS: Final = "file-differs"
TOO_MANY: Final = "too-many-uploads"
_BEGUN: Final = ".json"
_DONE: Final = ".done"  # apart, so that a beginning need not look through days of them


class Upload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was announced, and, once it is whole, what became of it. `sha256` is in hex."""

    id: str
    owner: str
    length: int
    begun_at_ms: int
    media_type: str | None = None
    sha256: str | None = None
    file: str | None = None
    bytes: int | None = None
    kept_as: str | None = None

    @property
    def expires_at_ms(self) -> int:
        """When it is given up."""
        return self.begun_at_ms + UPLOAD_LIFETIME_MS


class Uploads:
    """See the module."""

    def __init__(self, store: FileStore, clock: Clock, randomness: Randomness) -> None:
        self.store = store
        self.incoming = Incoming(store)
        self._clock = clock
        self._randomness = randomness
        self._finishing = threading.Lock()  # one at a time: each may take the processor for a second
        self._beginning = threading.Lock()  # so that what was counted is what there is

    def begin(self, owner: str, length: int, media_type: str | None, digest: Digest | None) -> Upload:
        """A new one. Raises Refused (malformed, too-large, too-many-uploads), NoRoom."""
        if length < 1:
            raise malformed("an empty file is no attachment", "Upload-Length")
        if length > self.store.limits.file_max:
            raise too_large("Upload-Length", self.store.limits.file_max)
        upload = Upload(
            id=self._randomness.bytes(16).hex(),
            owner=owner,
            length=length,
            begun_at_ms=self._clock.now_ms(),
            media_type=media_type,
            sha256=None if digest is None else digest.hex(),
        )
        with self._beginning:
            make_folder(self.incoming.folder, self.store.directory)
            others = list(self._all(_BEGUN))
            if sum(other.owner == owner for other in others) >= UPLOADS_MAX:
                detail = f"{UPLOADS_MAX} uploads are begun and not finished"
                raise Refused(TOO_MANY, detail, members={"limit": UPLOADS_MAX})
            self.store.check_room(length + sum(other.length for other in others))
            self._write(upload)
        return upload

    def find(self, owner: str, name: str) -> Upload:
        """One of this client's. Raises Refused(not-found), also for another client's."""
        is_ours = len(name) == 32 and not set(name) - set("0123456789abcdef")
        upload = (self._read(name, _DONE) or self._read(name, _BEGUN)) if is_ours else None
        if upload is None or upload.owner != owner or upload.expires_at_ms <= self._clock.now_ms():
            raise Refused("not-found", "there is no such upload, or it is over", where="upload")
        return upload

    def offset(self, upload: Upload) -> int:
        """How many bytes of it came."""
        return upload.length if upload.file is not None else self.incoming.offset(upload.id)

    def append(self, upload: Upload, offset: int, data: bytes) -> int:
        """Adds bytes and says how many came. Raises Refused (wrong-offset, too-large, file-type), NoRoom.

        A type that is not taken is told as soon as it shows; the upload is gone then.
        """
        here = self.incoming.append(upload.id, offset, data, upload.length)
        if offset < HEAD_BYTES <= here:
            try:
                check_claim(self.incoming.head(upload.id, HEAD_BYTES), upload.media_type)
            except Refused:
                self.drop(upload)
                raise
        return here

    def finish(self, upload: Upload) -> Upload:
        """The upload with its file, once every byte is here; before that, as it is.

        Raises Refused (file-differs, file-type), and then the upload is gone; NoRoom, and then it waits.
        """
        if upload.file is None and self.incoming.offset(upload.id) < upload.length:
            return self.find(upload.owner, upload.id)  # who asks for its progress does not wait for others to be hashed
        with self._finishing:
            upload = self.find(upload.owner, upload.id)  # another request may have done it
            if upload.file is not None:
                self.incoming.drop(upload.id)  # what a request brought that came too late
                return upload
            if self.incoming.offset(upload.id) < upload.length:
                return upload
            try:
                stored, kept_as = self._keep(upload)
            except Refused:
                self.drop(upload)
                raise
            done = msgspec.structs.replace(upload, file=stored.digest.b64u, bytes=stored.bytes, kept_as=kept_as)
            self._write(done, _DONE)  # a crash before it: the next question does all of this again
            self._drop_begun(upload)
            return done

    def _keep(self, upload: Upload) -> tuple[StoredFile, str]:
        with self.incoming.opened(upload.id) as data:
            if upload.sha256 is not None and _hash_of(data).hex() != upload.sha256:
                raise Refused(FILE_DIFFERS, "the bytes that came are not those that were announced", where="sha256")
            media_type = check_claim(data[:HEAD_BYTES], upload.media_type)
            stored = self.store.add(read_pieces(data, clean(data, media_type)))
            assert stored is not None
            return stored, media_type

    def drop(self, upload: Upload) -> None:
        """Gives it up; a file that came of it stays."""
        self._drop_begun(upload)
        self.incoming.path(upload.id, _DONE).unlink(missing_ok=True)

    def _drop_begun(self, upload: Upload) -> None:
        self.incoming.path(upload.id, _BEGUN).unlink(missing_ok=True)
        self.incoming.drop(upload.id)

    def sweep(self) -> int:
        """Gives up what is over, and what belongs to nothing; how many."""
        now_ms = self._clock.now_ms()
        over = [one for suffix in (_BEGUN, _DONE) for one in self._all(suffix) if one.expires_at_ms <= now_ms]
        for upload in over:
            self.drop(upload)
        before_s = (now_ms - UPLOAD_LIFETIME_MS) / 1000
        return len(over) + self.incoming.sweep(before_s) + self.store.sweep_copies(before_s)

    def _all(self, suffix: str) -> Iterator[Upload]:
        for path in self.incoming.folder.glob(f"*{suffix}"):
            found = self._read(path.name.removesuffix(suffix), suffix)
            if found is not None:
                yield found

    def _read(self, name: str, suffix: str) -> Upload | None:
        try:
            return msgspec.json.decode(self.incoming.path(name, suffix).read_bytes(), type=Upload)
        except (FileNotFoundError, msgspec.DecodeError):
            return None  # a damaged one is as good as none: the client begins again

    def _write(self, upload: Upload, suffix: str = _BEGUN) -> None:
        """Whole, or as it was before."""
        fresh = self.incoming.path(upload.id, ".new")
        try:
            with room_watched(), os.fdopen(open_new(fresh), "wb") as file:
                file.write(msgspec.json.encode(upload))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.incoming.path(upload.id, suffix))
        finally:
            with suppress(FileNotFoundError):
                fresh.unlink()


def _hash_of(data: Source) -> bytes:
    found = sha256()
    for start in range(0, len(data), COPY_BYTES):
        found.update(data[start : start + COPY_BYTES])
    return found.digest()
