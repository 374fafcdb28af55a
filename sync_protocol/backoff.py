"""When to try again (protocol §10.4), in human units. Time and jitter are handed in; nothing here sleeps.

Two schedules, because two things go wrong. A **blip** is over in seconds: tried again within one attempt of the pusher,
and forgotten. An **outage** lasts hours or days: its schedule is stored, survives a restart, never goes further
apart than 15 minutes, and is cut short when the hub is seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

BLIP_ATTEMPTS_MAX: Final = 4  # about ten seconds in all; what takes longer is an outage
BLIP_FIRST_S: Final = 0.25  # a proxy that reloads is back by then
BLIP_LONGEST_S: Final = 8.0

OUTAGE_STEPS_MS: Final = (5 * SECOND_MS, 15 * SECOND_MS, 30 * SECOND_MS, *(n * MINUTE_MS for n in (1, 2, 4, 8, 15)))
OUTAGE_LONGEST_MS: Final = OUTAGE_STEPS_MS[-1]
RETRY_AFTER_LONGEST_MS: Final = HOUR_MS  # a wrong header must not silence an agency for a day


@dataclass(frozen=True, slots=True)
class Schedule:
    """Stored state of the attempts. Times are milliseconds since 1970; `failures` counts since the last success."""

    failures: int = 0
    since_ms: int | None = None
    attempted_at_ms: int | None = None
    next_attempt_at_ms: int = 0

    def is_due(self, now_ms: int, hub_seen_at_ms: int | None = None) -> bool:
        """Whether an attempt may be made now: its time has come, or the hub was seen since the last one.

        A next attempt further away than any schedule could have put it means that the clock was set back: due.
        """
        if now_ms >= self.next_attempt_at_ms or self.next_attempt_at_ms - now_ms > RETRY_AFTER_LONGEST_MS:
            return True
        return hub_seen_at_ms is not None and hub_seen_at_ms > (self.attempted_at_ms or 0)

    def attempting(self, now_ms: int, fraction: float) -> Schedule:
        """To be stored *before* an attempt is made: a crash in the middle of it then counts as a failure."""
        return Schedule(
            failures=self.failures + 1,
            since_ms=now_ms if self.since_ms is None else self.since_ms,
            attempted_at_ms=now_ms,
            next_attempt_at_ms=now_ms + outage_delay_ms(self.failures + 1, fraction),
        )

    def postponed(self, now_ms: int, retry_after_s: float) -> Schedule:
        """When the hub named a time: not before it, up to one hour ahead, and never sooner than planned."""
        if not retry_after_s > 0:  # nor NaN
            return self
        wish_ms = now_ms + int(min(retry_after_s * SECOND_MS, RETRY_AFTER_LONGEST_MS))
        return replace(self, next_attempt_at_ms=max(self.next_attempt_at_ms, wish_ms))

    def invited(self, now_ms: int, retry_after_s: float, fraction: float) -> Schedule:
        """When a hub that is there, and busy, named a time: then, even if the schedule had planned a later one.

        It knows its queue, we do not; and who was turned away often must not come back last. Up to one hour ahead;
        `fraction` in [0, 1) spreads those who were named the same second.
        """
        if not retry_after_s > 0:
            return self
        wish_s = spread_s(min(retry_after_s, RETRY_AFTER_LONGEST_MS / SECOND_MS), fraction)
        return replace(self, next_attempt_at_ms=now_ms + min(int(wish_s * SECOND_MS), RETRY_AFTER_LONGEST_MS))

    def going_on(self) -> Schedule:
        """After an answer that asks for one thing more: that may follow at once, and nothing is settled by it.

        So rounds of question and work that lead nowhere come further and further apart.
        """
        return replace(self, next_attempt_at_ms=0)

    def succeeded(self, now_ms: int) -> Schedule:
        """After an answer of the hub: nothing is owed, the next attempt may follow at once."""
        return Schedule(attempted_at_ms=now_ms)


def outage_delay_ms(failures: int, fraction: float) -> int:
    """Milliseconds until the attempt after the `failures`-th failure (1 …), from half to the whole of its step.

    `fraction` in [0, 1) spreads 700 nodes that lost the hub in the same moment.
    """
    step_ms = OUTAGE_STEPS_MS[min(max(failures, 1), len(OUTAGE_STEPS_MS)) - 1]
    return step_ms // 2 + int(step_ms / 2 * fraction)


def spread_s(retry_after_s: float, fraction: float) -> float:
    """Seconds to wait for somebody who was asked to wait that long: never less, and not in step with the others.

    A hub names whole seconds and spreads its callers over them; within the second they spread themselves.
    """
    return retry_after_s + fraction * max(1.0, retry_after_s / 10)


def blip_delay_s(failures: int, fraction: float, retry_after_s: float | None = None) -> float | None:
    """Seconds until the next try within one attempt: exponential with full jitter.

    None: it is an outage by now, or the hub wants more time than a blip has.
    """
    if failures >= BLIP_ATTEMPTS_MAX:
        return None
    delay_s: float = min(BLIP_FIRST_S * 2.0 ** (max(failures, 1) - 1), BLIP_LONGEST_S) * fraction
    if retry_after_s is None or not retry_after_s > 0:
        return delay_s
    return None if retry_after_s > BLIP_LONGEST_S else max(delay_s, spread_s(retry_after_s, fraction))
