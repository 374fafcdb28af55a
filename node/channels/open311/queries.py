"""What a GET asks for, read from its parameters (GeoReport's filters). Pure; everything is bounded before it is used.

A parameter that is empty is not there. Parameters that GeoReport does not know are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.channels.open311.moments import parse_moment
from node.channels.open311.services import CODE_MAX, SERVICE_CODE
from sync_protocol.errors import Refused, malformed, too_large

Pairs = Sequence[tuple[str, str]]

IDS_MAX: Final = 100  # as many as fit into an address; each is looked up by itself
CODES_MAX: Final = 100  # more than the services that a city has
ID_MAX_CHARACTERS: Final = 110  # an agency of 64, a colon, a UUID of 36
SPAN_DAYS: Final = 90
PAGE_MAX: Final = 1_000  # requests in one answer: GeoReport's own limit
SHOWN_MAX: Final = 10_000  # how far pages go: beyond it a client narrows the dates, and we do not count again and again
OPEN: Final = "open"
CLOSED: Final = "closed"
_DAY_MS: Final = 86_400_000
_NUMBER: Final = re.compile("[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class RequestsWanted:
    """Which requests. `ids` override everything but the jurisdiction; empty sets are no condition.

    From `from_ms` to `to_ms`, both included; `skip` are on the pages before.
    """

    jurisdiction: str | None
    ids: tuple[str, ...]
    codes: frozenset[str]
    statuses: frozenset[str]
    from_ms: int
    to_ms: int
    skip: int
    take: int


def one(pairs: Pairs, name: str) -> str | None:
    """The value, None if there is none. Raises Refused(malformed) for several."""
    values = [value.strip() for key, value in pairs if key == name and value.strip()]
    if len(values) > 1:
        raise malformed(f"{name} was given more than once", name)
    return values[0] if values else None


def read_wanted(pairs: Pairs, jurisdiction: str | None, now_ms: int) -> RequestsWanted:
    """Raises Refused (malformed, too-large), naming the parameter."""
    ids = _words(pairs, "service_request_id", IDS_MAX, ID_MAX_CHARACTERS)
    codes = _words(pairs, SERVICE_CODE, CODES_MAX, CODE_MAX)
    statuses = _words(pairs, "status", 2, len(CLOSED))
    if not statuses <= {OPEN, CLOSED}:
        raise malformed("status is open, closed or both", "status")
    # Whoever names requests asks for these, whatever else stands there.
    from_ms, to_ms = (0, 0) if ids else _span(pairs, now_ms)
    take = _number(pairs, "page_size", PAGE_MAX, PAGE_MAX)
    skip = (_number(pairs, "page", 1, SHOWN_MAX) - 1) * take
    if skip + take > SHOWN_MAX:
        raise malformed(f"pages go to request {SHOWN_MAX}: narrow start_date and end_date", "page")
    return RequestsWanted(
        jurisdiction, tuple(sorted(ids)), frozenset(codes), frozenset(statuses), from_ms, to_ms, skip, take
    )


def _span(pairs: Pairs, now_ms: int) -> tuple[int, int]:
    from_ms, end_ms = _moment(pairs, "start_date"), _moment(pairs, "end_date")
    # The second that is named is included, to its last millisecond.
    to_ms = None if end_ms is None else end_ms + 999
    if to_ms is None:
        to_ms = now_ms if from_ms is None else from_ms + SPAN_DAYS * _DAY_MS + 999
    if from_ms is None:
        from_ms = to_ms // 1_000 * 1_000 - SPAN_DAYS * _DAY_MS
    if from_ms > to_ms:
        raise malformed("start_date is after end_date", "start_date")
    if to_ms - from_ms > SPAN_DAYS * _DAY_MS + 999:
        raise malformed(f"start_date and end_date may be {SPAN_DAYS} days apart at most", "end_date")
    return from_ms, to_ms


def _moment(pairs: Pairs, name: str) -> int | None:
    text = one(pairs, name)
    try:
        return None if text is None else parse_moment(text, name)
    except Refused as refused:
        raise malformed(f"{name} {refused.detail}", name) from None


def _words(pairs: Pairs, name: str, most: int, longest: int) -> set[str]:
    """Comma-delimited, and given any number of times. Commas with nothing between them are refused."""
    found: set[str] = set()
    for key, value in pairs:
        if key == name:
            words = {word for word in map(str.strip, value.split(",")) if word}
            if not words and value.strip():
                raise malformed(f"{name} names nothing between its commas", name)
            found |= words
    if len(found) > most:
        raise too_large(name, most, "values")
    if any(len(word) > longest for word in found):
        raise Refused("malformed", f"a value of {name} is longer than any that there is", where=name)
    return found


def _number(pairs: Pairs, name: str, default: int, most: int) -> int:
    text = one(pairs, name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise malformed(f"{name} is a number from 1 to {most}", name)
    return int(text)
