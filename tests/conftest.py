"""What all tests share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy.engine import URL

from tests.postgres import SERVER_VARIABLE, fresh_database, running_server

# No deadline for one example: machines are shared, and a slow moment is no defect. A failure prints how to repeat it.
settings.register_profile("simpul", deadline=None, print_blob=True)
settings.load_profile("simpul")


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_tests_in_the_environment() -> None:
    """The program refuses a SIMPUL_… that it does not know, and this one is the tests' alone."""
    os.environ.pop(SERVER_VARIABLE, None)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """One server for the whole run, however many workers there are."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    # Not under pytest's own folder: every pytest that starts shuts it to all users but its own, and as root the server
    # is run by another.
    folder = Path(tempfile.gettempdir()) / f"simpul-postgres-{os.getuid()}-{shared.parent.name}-{shared.name}"
    with running_server(folder, keep=False) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """An empty PostgreSQL database of this test alone, as our settings name it."""
    with fresh_database(postgres_server) as url:
        yield url.render_as_string(hide_password=False)
