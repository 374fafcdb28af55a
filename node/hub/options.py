"""What a hub is told when it is made. Wiring reads the settings; nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import make_url

from node.hub.admission import AdmissionLimits
from sync_protocol.errors import Refused


@dataclass(frozen=True)
class HubOptions:
    """Where things are, and how the hub behaves. Paths and URLs are absolute. What is secret is not in its repr.

    No `database_url`: SQLite in `directory`. No `projection_url`: beside the log, in a file or a schema of its own.
    No `lock_url`: the lock store is files in `lock_directory`.
    """

    directory: Path
    database_url: str = field(default="", repr=False)
    projection_url: str = field(default="", repr=False)
    lock_url: str = field(default="", repr=False)
    lock_directory: Path | None = None
    passphrase: str | None = field(default=None, repr=False)
    public_url: str | None = None
    projector: bool = True
    requests_max: int = 128
    waiting_max: int = 1_024
    connections_max: int = 2_048
    bodies_max_bytes: int = 128 * 1024 * 1024
    verify_threads: int = 2
    body_timeout_s: float = 60.0
    group_commit_max: int = 64
    tick_interval_s: float = 3_600.0
    projected_after_s: float = 900.0
    invitation_days: int = 14

    @property
    def admission(self) -> AdmissionLimits:
        """What may be in memory, and wait, at one time."""
        return AdmissionLimits(self.requests_max, self.waiting_max, self.bodies_max_bytes)

    @property
    def log_file(self) -> Path | None:
        """The SQLite file of the log plane; None where PostgreSQL holds it."""
        return _sqlite_file(self.database_url) if self.database_url else self.directory / "hub.db"

    @property
    def projection_file(self) -> Path | None:
        """The SQLite file of the query tables; None where PostgreSQL holds them."""
        if self.projection_url:
            return _sqlite_file(self.projection_url)
        return None if self.log_file is None else self.directory / "projection.db"

    @property
    def lock_folder(self) -> Path:
        """Apart from the database; never restored from a backup."""
        return self.lock_directory or self.directory / "lock"


def _sqlite_file(url: str) -> Path | None:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        step = "Name a file: sqlite+aiosqlite:///hub.db"
        raise Refused("configuration", "a hub's database does not live in memory", members={"next": step})
    return Path(parsed.database)
