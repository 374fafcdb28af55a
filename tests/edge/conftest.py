"""Fixtures of many tests here: a hub of one's own, and nodes beside it. A module may have its own of the same name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.edge.hub_lab import Lab, running_hub
from tests.edge.inbox_lab import Peer, peers
from tests.edge.refill_lab import Disaster


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path) as running:
        yield running


@pytest.fixture
async def nodes(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> AsyncIterator[list[Peer]]:
    """Of the agencies that the test's module names as AGENCIES, in that order."""
    async with peers(lab, tmp_path, list(request.module.AGENCIES)) as made:
        yield made


@pytest.fixture
def disaster(tmp_path: Path) -> Disaster:
    return Disaster(tmp_path)
