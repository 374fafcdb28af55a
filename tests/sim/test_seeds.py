"""Seeds that found something, and what. They run for ever; the plain test of each defect is named beside it.

A seed is the same world only as long as the simulation is: what it found is kept by that test, and these stay as worlds
that were bad once.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.sim.world import run_seed

FOUND: Final = {
    20: "an operator's take-over after the key was revoked: a fresh token comes first (operators.py)",
    42: "an enrolment that nobody had published was answered all the same (tests/edge/test_hub_processes.py)",
    57: "an erasure in a set with fewer words than it announces stopped the projector (tests/edge/test_hub_poison.py)",
    64: "a pending key that a copy had used was asked for, for ever (tests/edge/test_spent_keys.py)",
    71: "a rotation that arrived late halted its node (tests/edge/test_spent_keys.py)",
    76: "words erased in a set that was then withdrawn were announced again (tests/store/test_local_epochs.py)",
    245: "erased words stayed in what a refill had gathered, when its process died at the end (node/hub/restoring.py)",
    307: "a recovering hub was shown everything again every few seconds (tests/edge/test_hub_refill.py)",
    628: "an enrolment fell over the key that another one had taken away (tests/edge/test_node_enrolment.py)",
    760: "a fold was not told of lines that a command brought (tests/edge/test_hub_refill_copies.py)",
    1532: "what a command had made whole was gathered on by the serving hub (tests/store/test_hub_recovery_store.py)",
}


@pytest.mark.parametrize("seed", list(FOUND))
def test_a_seed_that_failed_once_does_so_no_more(seed: int) -> None:
    assert run_seed(seed).violations == [], FOUND[seed]
