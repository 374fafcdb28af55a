"""What a hub is told when it is made. Wiring reads the settings; nothing else does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from node.hub.admission import AdmissionLimits
from sync_protocol.errors import Refused


@dataclass(frozen=True)
class HubOptions:
    """Where things are, and how the hub behaves. Paths and URLs are absolute."""

    directory: Path
    database_url: str = ""
    projection_url: str = ""
    lock_directory: Path | None = None
    passphrase: str | None = None
    public_url: str | None = None
    projector: bool = True
    requests_max: int = 128
    waiting_max: int = 1_024
    bodies_max_bytes: int = 128 * 1024 * 1024
    verify_threads: int = 2
    body_timeout_s: float = 60.0
    group_commit_max: int = 64
    tick_interval_s: float = 3_600.0
    invitation_days: int = 14

    @property
    def admission(self) -> AdmissionLimits:
        """What may be in memory, and wait, at one time."""
        return AdmissionLimits(self.requests_max, self.waiting_max, self.bodies_max_bytes)

    @property
    def database(self) -> Path:
        """The file of the log plane."""
        return _sqlite_file(self.database_url, self.directory / "hub.db")

    @property
    def projection(self) -> Path:
        """The file of the query tables."""
        return _sqlite_file(self.projection_url, self.directory / "projection.db")

    @property
    def lock_folder(self) -> Path:
        """Apart from the database; never restored from a backup."""
        return self.lock_directory or self.directory / "lock"


def _sqlite_file(url: str, default: Path) -> Path:
    if not url:
        return default
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        step = "Use sqlite+aiosqlite:///… ; PostgreSQL comes with the next version."
        raise Refused("configuration", "this version keeps its log in SQLite", members={"next": step})
    return Path(parsed.database)
