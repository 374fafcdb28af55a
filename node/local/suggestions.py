"""Where a complaint may belong, by explicit, versioned rules (config/routing.toml): pure. A person decides.

Each suggestion says which rule it is by and why. Nothing is offered because of it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sync_protocol.complaint_state import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId, parse_code

RULES_MAX: Final = 1_000  # each is tried for each complaint that somebody looks at
KEYWORDS_MAX: Final = 100  # of one rule
AREA: Final = "area"
_REGENCY_CHARACTERS: Final = 5  # of an area code: province and regency
_MEMBERS: Final = {"name", "to", "reason", "keywords", "categories", "classes", "areas"}


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """An agency, and why: the rule's name and reason, and the version of the rules."""

    to: str
    rule: str
    reason: str
    version: int


class Suggestions(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/complaints/{complaint}/suggestions`, in the order of the rules."""

    suggestions: list[Suggestion]


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions that it has must hold. `to` is an agency, or AREA."""

    name: str
    to: str
    reason: str
    words: re.Pattern[str] | None = None
    categories: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    areas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutingRules:
    """A version of them."""

    version: int
    rules: Sequence[Rule]

    def suggest(
        self, state: ComplaintState, texts: Collection[str], is_agency: Callable[[str], bool]
    ) -> list[Suggestion]:
        """For a complaint and what was said when it came; its owner is never suggested, nor an agency twice."""
        said = " ".join(texts).lower()
        found: dict[str, Suggestion] = {}
        for rule in self.rules:
            to = _region_of(state.area) if rule.to == AREA else rule.to
            if to is None or to == state.owner or to in found or not is_agency(to) or not _holds(rule, state, said):
                continue
            found[to] = Suggestion(to=to, rule=rule.name, reason=rule.reason, version=self.version)
        return list(found.values())


def read_rules(text: str) -> RoutingRules:
    """From the words of routing.toml. Raises Refused(configuration)."""
    try:
        version, rules = _read(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError, Refused) as error:
        step = "Correct it by the example in config/README.md, or install Simpul again."
        raise Refused(
            "configuration", f"routing.toml cannot be used: {error}", where="routing.toml", members={"next": step}
        ) from None
    return RoutingRules(version, rules)


def _read(table: Mapping[str, Any]) -> tuple[int, list[Rule]]:
    version, entries = table["version"], table["rule"]
    if type(version) is not int or not isinstance(entries, list) or len(entries) > RULES_MAX:
        raise TypeError("wants a version and a list of rules")
    rules = [_rule(entry) for entry in entries]
    if len({rule.name for rule in rules}) < len(rules):
        raise ValueError("two rules have one name")
    return version, rules


def _rule(entry: Mapping[str, Any]) -> Rule:
    unknown = set(entry) - _MEMBERS
    if unknown:
        raise ValueError(f"a rule has no {min(unknown)!r}")
    to, keywords = str(entry["to"]), [str(word).lower() for word in entry.get("keywords", [])]
    if len(keywords) > KEYWORDS_MAX:
        raise ValueError(f"a rule has {KEYWORDS_MAX} keywords at most")
    return Rule(
        name=parse_code(str(entry["name"]), "name"),
        to=to if to == AREA else str(AgencyId.parse(to)),
        reason=str(entry["reason"]),
        words=re.compile(rf"\b(?:{'|'.join(map(re.escape, keywords))})\b") if keywords else None,
        categories=frozenset(map(str, entry.get("categories", []))),
        classes=frozenset(map(str, entry.get("classes", []))),
        areas=tuple(map(str, entry.get("areas", []))),
    )


def _holds(rule: Rule, state: ComplaintState, said: str) -> bool:
    return (
        (rule.words is None or rule.words.search(said) is not None)
        and (not rule.categories or state.category in rule.categories)
        and (not rule.classes or state.class_ in rule.classes)
        and (not rule.areas or any(_lies_in(state.area, area) for area in rule.areas))
    )


def _region_of(area: str | None) -> str | None:
    """The regency or city; what names only a province says too little."""
    return area[:_REGENCY_CHARACTERS] if area and len(area) >= _REGENCY_CHARACTERS else None


def _lies_in(area: str | None, region: str) -> bool:
    return area is not None and (area == region or area.startswith(region + "."))
