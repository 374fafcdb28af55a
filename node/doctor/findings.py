"""A finding: one thing that was looked at, how it is, and what to do, in English and Indonesian.

Exit codes follow from findings alone: 0 if none fails, 3 if nothing fails but that the other side cannot be reached,
1 otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

Level = Literal["ok", "warn", "fail"]

#: Checks that fail where nobody answers.
OUT_OF_REACH: Final = frozenset({"hub", "database-server"})


class Words(NamedTuple):
    """The same in both languages; `en` for logs and tickets, `id` for who sits before the screen."""

    en: str
    id: str


NOTHING: Final = Words("", "")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report. `next` is empty where all is well."""

    check: str
    level: Level
    detail: str
    next: str
    detail_id: str
    next_id: str


def ok(check: str, detail: Words) -> Finding:
    """As it should be."""
    return _finding(check, "ok", detail, NOTHING)


def warn(check: str, detail: Words, next_step: Words) -> Finding:
    """It works, and somebody should look at it soon."""
    return _finding(check, "warn", detail, next_step)


def fail(check: str, detail: Words, next_step: Words) -> Finding:
    """It does not work, or is about to stop."""
    return _finding(check, "fail", detail, next_step)


def _finding(check: str, level: Level, detail: Words, next_step: Words) -> Finding:
    return Finding(
        check=check,
        level=level,
        detail=detail.en,
        next=next_step.en,
        detail_id=detail.id,
        next_id=next_step.id,
    )


def report(role: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """The document of `doctor --json`; `exit_code` is the command's."""
    failed = {finding.check for finding in findings if finding.level == "fail"}
    code = 0 if not failed else 3 if failed <= OUT_OF_REACH else 1
    return {"ok": not failed, "role": role, "exit_code": code, "findings": msgspec.to_builtins(list(findings))}


def does_not_open(check: str, what: Words, error: Exception, words: str) -> Finding:
    """A database, the lock store or a file that is named in the settings is not as it must be; `words` say how."""
    told = getattr(error, "next_step", "") or getattr(error, "members", {}).get("next", "")
    step = str(told) or "See docs/operations.md, 'Troubles'."
    detail = Words(f"{what.en} cannot be opened: {words}", f"{what.id} tidak dapat dibuka: {words}")
    return fail(check, detail, Words(step, f"Lakukan: {step}"))
