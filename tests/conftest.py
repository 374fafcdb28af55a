"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from sqlalchemy.engine import URL

from tests.postgres import fresh_database, running_server

# No deadline for one example: machines are shared, and a slow moment is no defect. A failure prints how to repeat it.
settings.register_profile("simpul", deadline=None, print_blob=True)
settings.load_profile("simpul")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """One server for the whole run, however many workers there are."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with running_server(shared / "postgres") as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """An empty PostgreSQL database of this test alone, as our settings name it."""
    with fresh_database(postgres_server) as url:
        yield url.render_as_string(hide_password=False)
