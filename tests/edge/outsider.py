"""Somebody with an agency's key and no regard for the rules: signs sets of its own and sends them to a real hub.

It shares the protocol's rules with the program (sync_protocol, keys) and none of the node's.
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from keys import ceremony
from keys.signer import Ed25519Signer
from sync_protocol.change_set import ChangeSet, build_change_set, draft_change_set
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.compression import compress_frames
from sync_protocol.line import format_change, format_content
from sync_protocol.note import VerifierKey
from sync_protocol.values import (
    AgencyId,
    Digest,
    format_timestamp,
    format_tracking,
    make_uuid7,
)
from tests.edge.whole_way import ORIGIN, HubDirectory

PROBLEM: Final = "urn:simpul:problem:"


@dataclass(frozen=True)
class Said:
    """An answer of the hub's."""

    status: int
    body: Any

    @property
    def kind(self) -> str:
        """The problem's kind."""
        assert self.body["status"] == self.status
        assert self.body["next"]
        return str(self.body["type"]).removeprefix(PROBLEM)


@dataclass
class Outsider:
    """An enrolled agency without a node. `seq` and `prev` are its head."""

    hub: HubDirectory
    agency: AgencyId
    signer: Ed25519Signer
    prev: Digest
    seq: int = 0

    @classmethod
    def enrol(cls, hub: HubDirectory, agency: str) -> Outsider:
        """By an invitation, like everybody."""
        made = cls(hub, AgencyId(agency), Ed25519Signer.generate(secrets.token_bytes(32)), Digest(bytes(32)))
        asked = ceremony.request_enrolment(
            origin=ORIGIN,
            agency=made.agency,
            token=hub.invite(agency),
            signer=made.signer,
            sealing_public_key=secrets.token_bytes(32),
        )
        said = made.call("POST", "/v1/enrolments", msgspec.json.encode(asked))
        assert said.status == 201, said
        (line,) = (line for line in json.loads(hub.get("/v1/agencies")) if line["agency"] == agency)
        made.prev = Digest.parse(line["digest"])
        return made

    def call(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Said:
        """One request, and its answer read to the end."""
        hub = urlsplit(self.hub.url)
        connection = http.client.HTTPConnection(str(hub.hostname), hub.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Said(answer.status, json.loads(answer.read()))
        finally:
            connection.close()

    def send(self, body: bytes, *, seq: int | None = None, encoding: str | None = "zstd") -> Said:
        """A body, whatever it is, to the place of the next set (or of `seq`)."""
        headers = {} if encoding is None else {"Content-Encoding": encoding}
        place = self.seq + 1 if seq is None else seq
        return self.call("PUT", f"/v1/agencies/{self.agency}/change-sets/{place}", body, headers)

    def cut(self, lines: Sequence[bytes], **members: Any) -> ChangeSet:
        """The next set, signed; each line that announces content gets some. `members` lie about the manifest."""
        contents = [content_line(line) for line in lines if b'"content":1' in line]
        seen = open_checkpoint(self.hub.get("/checkpoint"), [VerifierKey.parse(self.hub.vkey)], ORIGIN)
        fields: dict[str, Any] = {
            "agency": self.agency,
            "epoch": 1,
            "seq": self.seq + 1,
            "prev": self.prev,
            "at": now_ms(),
            "seen_size": seen.checkpoint.size,
            "seen_root": Digest(seen.checkpoint.root),
            "seen_sig": seen.signature,
        }
        signer = members.pop("signer", self.signer)
        return build_change_set(draft_change_set(lines, contents), signer, **(fields | members))

    def push(self, change_set: ChangeSet) -> Said:
        """A set as it is."""
        body = b"".join(compress_frames(change_set.head, change_set.contents))
        said = self.send(body, seq=change_set.manifest.manifest.seq)
        if said.status == 201:
            self.seq, self.prev = change_set.manifest.manifest.seq, change_set.manifest.digest
        return said

    def complaint(self) -> str:
        """A fresh complaint id."""
        return f"{self.agency}:{uuid()}"

    def received(self, complaint: str, **data: Any) -> bytes:
        """The change line of a new complaint."""
        facts = {
            "channel": "sms",
            "received_at": format_timestamp(now_ms()),
            "tracking": format_tracking("KDR", secrets.randbits(60)),
            "visibility": "public",
        }
        return change_line(complaint, "received", facts | data, rev=1, content=True)


def change_line(
    complaint: str, type_: str, data: Mapping[str, Any] | None = None, *, rev: int, content: bool = False
) -> bytes:
    """A change as the rules want it."""
    return format_change(
        id=uuid(),
        complaint=complaint,
        rev=rev,
        type=type_,
        at=format_timestamp(now_ms()),
        role="officer",
        unit=None,
        data=dict(data or {}),
        content=content,
    )


def content_line(line: bytes) -> bytes:
    """Something that was said, for a change line."""
    return format_content({"text": "Jalan berlubang."}, secrets.token_bytes(16), json.loads(line)["id"])


def uuid() -> str:
    return make_uuid7(now_ms(), secrets.randbits(74))


def now_ms() -> int:
    return int(time.time() * 1000)
