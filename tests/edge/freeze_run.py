"""A run of kills in which the hub's processes are not killed but frozen, and mostly cut off from PostgreSQL meanwhile.

Who thaws believes that it holds what it held: the append lock, the lead, a transaction. The server gave all of that to
others when it ended the sessions.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import Final

import asyncpg
from sqlalchemy.engine import make_url

from tests.edge.kill_run import DRAIN_S, KillRun
from tests.edge.program import wait_for
from tests.postgres import driver_dsn

STANDSTILL_S: Final = 0.8  # at most, before the sessions end and again after it
CUT_OFF: Final = 0.75  # of the freezes
_CUT: Final = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class FreezeRun(KillRun):
    """See the module. Nodes are killed as ever."""

    sessions_ended = 0

    def kill_child(self) -> None:
        children = wait_for("a process of the hub", self.children, within_s=DRAIN_S, every_s=0.01)
        self._freeze(self.chance.choice(children))

    def kill_leader(self) -> None:
        self._freeze(wait_for("a leader", self.leaders, within_s=DRAIN_S, every_s=0.02)[-1])

    def kill_parent(self) -> None:
        assert self.hub.server is not None
        self._freeze(self.hub.server.process.pid or 0)

    def _freeze(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(self.chance.uniform(0.0, STANDSTILL_S))
                if not self.sessions_ended or self.chance.random() < CUT_OFF:
                    self.sessions_ended += asyncio.run(self._end_sessions())
                time.sleep(self.chance.uniform(0.0, STANDSTILL_S))
            finally:
                os.kill(pid, signal.SIGCONT)

    async def _end_sessions(self) -> int:
        """Of everybody in the log's database and the lock's: how many."""
        ended = 0
        for url in filter(None, {self.asked.database_url, self.asked.lock_url}):
            connection = await asyncpg.connect(driver_dsn(make_url(url)))
            try:
                ended += await connection.fetchval(_CUT)
            finally:
                await connection.close()
        return ended
