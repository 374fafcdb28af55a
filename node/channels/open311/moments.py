"""Dates of GeoReport: the subset of ISO 8601 that W3C noted down, with a zone. Ours are UTC to the second."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from sync_protocol.errors import malformed
from sync_protocol.values import parse_timestamp

MOMENT_MAX_CHARACTERS: Final = 40  # a date with nine decimals and a zone has 35
_FIRST_YEAR, _LAST_YEAR = 1970, 9998  # a zone cannot carry what lies between out of what a date can say
# A `+` that nobody encoded is a blank by the time it is read.
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:(Z)|([+ -])(\d\d):?(\d\d))", re.ASCII)


def parse_moment(text: str, where: str) -> int:
    """Milliseconds since 1970, whole seconds. Raises Refused(malformed)."""
    found = _MOMENT.fullmatch(text) if len(text) <= MOMENT_MAX_CHARACTERS else None
    if found is None:
        raise malformed("is a date such as 2026-01-31T08:00:00Z or 2026-01-31T15:00:00+07:00", where)
    try:
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        raise malformed("is not a date of the calendar", where) from None
    hours, minutes = int(found[4] or 0), int(found[5] or 0)
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR or hours > 14 or minutes > 59:
        raise malformed(f"lies outside the years {_FIRST_YEAR} to {_LAST_YEAR}, or its zone is none", where)
    ahead_ms = (hours * 60 + minutes) * 60_000 * (-1 if found[3] == "-" else 1)
    return int(moment.timestamp()) * 1_000 - ahead_ms


def format_moment(at_ms: int) -> str:
    """As `2026-01-31T08:00:00Z`."""
    return datetime.fromtimestamp(at_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(timestamp: str) -> str:
    """A timestamp of protocol §1.1 as a date of GeoReport."""
    return format_moment(parse_timestamp(timestamp))
