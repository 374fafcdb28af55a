"""What the checks of sync_protocol/line_values.py mean, in the words of JSON Schema.

msgspec writes types, vocabularies and lengths by itself; a check function says nothing to it. A schema refuses no more
than its check does (a pattern cannot say which days exist, or compute a check character).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sync_protocol import line_values as values
from sync_protocol.limits import AGENCY_ID_MAX, CODE_MAX, SOURCE_ID_MAX
from sync_protocol.line import Check, checks_of
from sync_protocol.values import (
    AGENCY_PATTERN,
    AREA_PATTERN,
    CODE_PATTERN,
    SOURCE_ID_PATTERN,
    TIMESTAMP_PATTERN,
    TRACKING_PATTERN,
)

_LEAF_HASH: Final = {"pattern": "^[A-Za-z0-9_-]{43}$"}
_KEYWORDS: Final[dict[Check, dict[str, Any]]] = {
    values.check_code: {"pattern": f"^(?!.*[0-9]{{10}}){CODE_PATTERN}$", "maxLength": CODE_MAX},
    values.check_agency: {"pattern": f"^{AGENCY_PATTERN}$", "maxLength": AGENCY_ID_MAX},
    values.check_area: {"pattern": f"^{AREA_PATTERN}$"},
    values.check_timestamp: {"pattern": f"^{TIMESTAMP_PATTERN}$", "format": "date-time"},
    values.check_tracking: {"pattern": f"^{TRACKING_PATTERN}$"},
    values.check_source_id: {"pattern": f"^(?!.*[0-9]{{16}}){SOURCE_ID_PATTERN}$", "maxLength": SOURCE_ID_MAX},
    values.check_media_type: {"pattern": "^[a-z0-9.+-]{1,30}/[a-z0-9.+-]{1,40}$"},
    values.check_leaf_hash: _LEAF_HASH,
    values.check_leaf_hashes: {"items": {"type": "string"} | _LEAF_HASH},
}


def add_patterns(schema: dict[str, Any], body: type[msgspec.Struct]) -> None:
    """Into the schema that msgspec made for a Struct, for every member with a check of its own."""
    for _, written, check in checks_of(body):
        keywords = _KEYWORDS.get(check)
        if keywords is not None:
            for place in _places(schema["properties"][written]):
                place.update(keywords)


def _places(member: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of a member that a text or a list falls under; `null` is none."""
    return [one for one in member.get("anyOf", [member]) if one.get("type") in ("string", "array")]
