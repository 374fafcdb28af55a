"""When to try again (protocol §10.4)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sync_protocol.backoff import (
    BLIP_ATTEMPTS_MAX,
    BLIP_LONGEST_S,
    HOUR_MS,
    MINUTE_MS,
    OUTAGE_LONGEST_MS,
    SECOND_MS,
    Schedule,
    blip_delay_s,
    outage_delay_ms,
)

NOW = 1_767_225_600_000
FRACTIONS = some.floats(0, 1, exclude_max=True)


@given(some.integers(1, 10**9), FRACTIONS)
def test_an_outage_is_asked_about_at_least_every_quarter_of_an_hour(failures: int, fraction: float) -> None:
    assert 0 < outage_delay_ms(failures, fraction) <= OUTAGE_LONGEST_MS == 15 * MINUTE_MS


def test_the_attempts_of_an_outage_move_apart() -> None:
    delays = [outage_delay_ms(failures, 0.5) for failures in range(1, 12)]
    assert delays == sorted(delays)
    assert delays[0] < 5 * SECOND_MS
    assert delays[-1] == delays[-2]


def test_nodes_that_lost_the_hub_together_do_not_come_back_together() -> None:
    delays = {outage_delay_ms(6, fraction / 700) for fraction in range(700)}
    assert len(delays) == 700
    assert max(delays) - min(delays) > 100 * SECOND_MS


def test_an_attempt_is_counted_before_it_is_made() -> None:
    """A crash in the middle of an attempt must not turn into a loop of crashes."""
    stored = Schedule()
    for number in range(1, 5):
        stored = stored.attempting(NOW, 0.0)
        assert stored.failures == number
        assert not stored.is_due(NOW)


def test_the_beginning_of_an_outage_is_remembered() -> None:
    stored = Schedule().attempting(NOW, 0.0).attempting(NOW + HOUR_MS, 0.0)
    assert stored.since_ms == NOW


def test_a_success_clears_the_schedule() -> None:
    stored = Schedule().attempting(NOW, 0.9).succeeded(NOW + 1)
    assert (stored.failures, stored.since_ms) == (0, None)
    assert stored.is_due(NOW + 1)


def test_the_hubs_wish_is_obeyed_up_to_an_hour() -> None:
    stored = Schedule().attempting(NOW, 0.0)
    assert stored.postponed(NOW, 120).next_attempt_at_ms == NOW + 2 * MINUTE_MS
    assert stored.postponed(NOW, 10**9).next_attempt_at_ms == NOW + HOUR_MS
    assert stored.postponed(NOW, math.inf).next_attempt_at_ms == NOW + HOUR_MS


@pytest.mark.parametrize("wish", [0, -5, math.nan, 0.001])
def test_the_hubs_wish_never_shortens_the_schedule(wish: float) -> None:
    stored = Schedule().attempting(NOW, 0.0)
    assert stored.postponed(NOW, wish) == stored


@given(FRACTIONS)
def test_a_busy_hubs_time_is_kept_even_by_those_it_turned_away_often(fraction: float) -> None:
    stored = Schedule()
    for _ in range(20):
        stored = stored.attempting(NOW, 0.9)
    assert stored.next_attempt_at_ms > NOW + 10 * MINUTE_MS
    assert 3_000 <= stored.invited(NOW, 3, fraction).next_attempt_at_ms - NOW <= 4_000
    assert stored.invited(NOW, math.inf, fraction).next_attempt_at_ms == NOW + HOUR_MS
    assert stored.invited(NOW, math.nan, fraction) == stored


def test_those_who_were_named_the_same_second_do_not_come_back_in_step() -> None:
    waits = {blip_delay_s(1, number / 100, retry_after_s=3) for number in range(100)}
    assert len(waits) == 100
    assert all(wait is not None and 3 <= wait <= 4 for wait in waits)


def test_a_hub_that_is_seen_is_tried_at_once_and_once() -> None:
    stored = Schedule().attempting(NOW, 0.9)
    assert stored.is_due(NOW + 1, hub_seen_at_ms=NOW + 1)
    again = stored.attempting(NOW + 1, 0.9)
    assert not again.is_due(NOW + 2, hub_seen_at_ms=NOW + 1)


def test_a_clock_that_was_set_back_by_years_does_not_silence_a_node() -> None:
    stored = Schedule().attempting(NOW, 0.9)
    assert stored.is_due(NOW - 365 * 24 * HOUR_MS)


@given(FRACTIONS)
def test_a_blip_is_tried_a_few_times_with_full_jitter(fraction: float) -> None:
    delays = [blip_delay_s(failures, fraction) for failures in range(1, BLIP_ATTEMPTS_MAX)]
    assert all(delay is not None and 0 <= delay <= BLIP_LONGEST_S for delay in delays)
    assert blip_delay_s(BLIP_ATTEMPTS_MAX, fraction) is None


def test_a_blip_waits_as_asked_and_gives_up_if_asked_for_more() -> None:
    assert blip_delay_s(1, 0.0, retry_after_s=3) == 3
    assert blip_delay_s(1, 0.0, retry_after_s=BLIP_LONGEST_S + 1) is None
    assert blip_delay_s(1, 0.5, retry_after_s=math.nan) == blip_delay_s(1, 0.5)
