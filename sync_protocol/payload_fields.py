"""The members of a signed payload, read by the value types: one reader for each kind of value (protocol §1, §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync_protocol.ed25519 import check_public_key
from sync_protocol.errors import Refused, malformed
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.note import VerifierKey
from sync_protocol.values import AgencyId, Digest, b64u_decode, parse_integer, parse_timestamp


class Fields:
    """Members as decoded from JSON. Every reader raises Refused(malformed) naming the member that is wrong."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def text(self, name: str) -> str:
        """A text of any content."""
        value = self._members.get(name)
        if not isinstance(value, str):
            raise malformed("wants text", name)
        return value

    def at(self) -> int:
        """Milliseconds since 1970."""
        return parse_timestamp(self.text("at"))

    def digest(self, name: str) -> Digest:
        """32 bytes of SHA-256."""
        return Digest.parse(self.text(name), name)

    def agency(self, name: str = "agency") -> AgencyId:
        """An agency's name."""
        return AgencyId.parse(self.text(name))

    def integer(self, name: str, least: int = 0, most: int = INTEGER_MAX) -> int:
        """An integer within bounds."""
        return parse_integer(self._members.get(name), name, least, most)

    def version(self, name: str, known: tuple[int, ...], what: str) -> int:
        """One of the `known`; another raises Refused(unsupported-version), at which a fold stops."""
        number = self.integer(name, 0)
        if number not in known:
            raise Refused(
                "unsupported-version", f"{what} {number} is not known here", members={"versions": list(known)}
            )
        return number

    def raw_key(self, name: str) -> bytes:
        """32 bytes, not judged."""
        return b64u_decode(self.text(name), 32, name)

    def public_key(self, name: str) -> bytes:
        """32 bytes of an Ed25519 key that may be used (§1.2)."""
        key = self.raw_key(name)
        check_public_key(key)
        return key

    def vkey(self, name: str) -> VerifierKey:
        """A log's key with its name."""
        return VerifierKey.parse(self.text(name))

    def member(self, name: str) -> Fields:
        """An object in the object."""
        value = self._members.get(name)
        if not isinstance(value, dict):
            raise malformed("wants an object", name)
        return Fields(value)

    def texts(self, name: str, count: int) -> list[str]:
        """A list of exactly `count` texts."""
        values = self._members.get(name)
        if not isinstance(values, list) or len(values) != count or not all(isinstance(value, str) for value in values):
            raise malformed(f"wants a list of {count} texts", name)
        return values
