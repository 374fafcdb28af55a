"""A complaint's *key* in every database: the 16 bytes of its UUID, then its minting agency in ASCII.

UUIDv7 comes first, so that new complaints stand at the end of the index and inserting stays as fast as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sync_protocol.values import ComplaintId


def complaint_key(complaint: str) -> bytes:
    """The key of a complaint id, which must be well-formed."""
    agency, _, uuid = complaint.rpartition(":")
    return bytes.fromhex(uuid.replace("-", "")) + agency.encode("ascii")


def complaint_keys(complaints: Sequence[str]) -> dict[str, bytes]:
    """The key of each; all digits are turned into bytes in one go, because a projection asks for thousands."""
    uuids = bytes.fromhex("".join([complaint[-36:] for complaint in complaints]).replace("-", ""))
    return {
        complaint: uuids[start : start + 16] + complaint[:-37].encode("ascii")
        for complaint, start in zip(complaints, range(0, len(uuids), 16), strict=True)
    }


def complaint_of(key: bytes) -> ComplaintId:
    """The complaint id behind a key."""
    return ComplaintId(f"{key[16:].decode('ascii')}:{UUID(bytes=key[:16])}")
