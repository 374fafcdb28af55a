"""The peer: PostgreSQL logical replication, one table from a publisher to a subscriber, both from the same wheel.

What is measured is catch-up: the subscription is off while the publisher commits transactions of one set each; the
clock runs from switching it on until the subscriber has the last row, and every one, committed with synchronous_commit.
Nothing is signed, verified, logged against rewriting or receipted.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg

from tests.bench.contest import Times
from tests.bench.load import Drawing, Pair, Work
from tests.bench.postgres_cluster import PostgresCluster, quieten, until

TABLE: Final = """CREATE TABLE complaint_changes (
    id uuid PRIMARY KEY, agency text NOT NULL, change text NOT NULL, content text NOT NULL
)"""
COLUMNS: Final = ("id", "agency", "change", "content")
CHANGE_ID: Final = re.compile(rb'"id":"([0-9a-f-]{36})"')
POLL_S: Final = 0.005
COPY_DATA_BYTES: Final = 30  # what the stream adds to each message: CopyData's type and length, XLogData's header


@dataclass
class LogicalReplication:
    """A publisher and a subscriber, connected and at rest. Use `open_logical_replication`."""

    publisher: asyncpg.Connection[Any]
    subscriber: asyncpg.Connection[Any]
    clusters: Sequence[PostgresCluster]
    wire_bytes: float
    rows: int = 0
    last: UUID | None = None

    async def prepare(self, work: Work) -> None:
        """The backlog is committed at the publisher while the subscription is off."""
        for agency, pairs in work.in_turn():
            records = list(_rows(agency, pairs))
            self.last = records[-1][0]
            # One statement outside a transaction block is one transaction: the set's 1,000 rows.
            await self.publisher.copy_records_to_table("complaint_changes", records=records, columns=COLUMNS)
        self.rows += work.changes
        await self._quieten()

    async def run(self) -> Times:
        """Seconds until the subscriber holds everything durably; what is there is also visible."""
        begun = time.perf_counter()
        await self.subscriber.execute("ALTER SUBSCRIPTION bench ENABLE")
        last = "SELECT EXISTS (SELECT FROM complaint_changes WHERE id = $1)"
        await until(self.subscriber, last, self.last, every_s=POLL_S)
        seconds = time.perf_counter() - begun
        found = await self.subscriber.fetchval("SELECT count(*) FROM complaint_changes")
        if found != self.rows:
            raise RuntimeError(f"the subscriber has {found} rows of {self.rows}")
        await self._rest()
        return Times(accepted_s=seconds, visible_s=seconds)

    def cpu_s(self) -> float:
        """Of both servers."""
        return sum(cluster.cpu_s() for cluster in self.clusters)

    def facts(self) -> dict[str, float]:
        """Bytes a row on the wire."""
        return {"wire_bytes": self.wire_bytes}

    async def _rest(self) -> None:
        """The slot is moved past what was sent, or the next round would decode it again; then the subscription is off.

        A slot moves on when the publisher logs its running transactions, which by itself it does every 15 seconds.
        """
        end = await self.publisher.fetchval("SELECT pg_current_wal_lsn()")
        moved = "SELECT restart_lsn >= $1 FROM pg_replication_slots WHERE slot_name = 'bench'"
        await until(self.publisher, moved, end, nudge="SELECT pg_log_standby_snapshot()")
        await self.subscriber.execute("ALTER SUBSCRIPTION bench DISABLE")
        await until(self.publisher, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'bench'")

    async def _quieten(self) -> None:
        """Checkpoint both, so that neither a checkpoint nor a vacuum of the last round falls into the next."""
        for connection in (self.publisher, self.subscriber):
            await quieten(connection)


@asynccontextmanager
async def open_logical_replication(folder: Path) -> AsyncIterator[LogicalReplication]:
    """Two fresh clusters in `folder`, with the table, the publication and a subscription that is off."""
    with ExitStack() as stack:
        clusters = [stack.enter_context(PostgresCluster.running(folder / name)) for name in ("p", "s")]
        publisher, subscriber = [await asyncpg.connect(cluster.dsn()) for cluster in clusters]
        try:
            for connection in (publisher, subscriber):
                await connection.execute(TABLE)
            await publisher.execute("CREATE PUBLICATION bench FOR TABLE complaint_changes")
            wire_bytes = await _measure_wire_bytes(publisher)
            await publisher.execute("SELECT pg_create_logical_replication_slot('bench', 'pgoutput')")
            await subscriber.execute(
                f"CREATE SUBSCRIPTION bench CONNECTION '{clusters[0].conninfo('postgres')}' PUBLICATION bench WITH "
                "(create_slot = false, slot_name = bench, copy_data = false, enabled = false, synchronous_commit = on)"
            )
            yield LogicalReplication(publisher, subscriber, clusters, wire_bytes)
        finally:
            for connection in (publisher, subscriber):
                connection.terminate()


async def _measure_wire_bytes(publisher: asyncpg.Connection[Any]) -> float:
    """Bytes a row that the publisher makes of a transaction of 1,000, as they would go to a subscriber."""
    [(agency, pairs)] = Drawing(["33.75"], 1, 1_000).draw().in_turn()
    await publisher.execute("SELECT pg_create_logical_replication_slot('sizing', 'pgoutput', true)")
    await publisher.copy_records_to_table("complaint_changes", records=list(_rows(agency, pairs)), columns=COLUMNS)
    total = await publisher.fetchval(
        f"SELECT sum(octet_length(data) + {COPY_DATA_BYTES}) FROM pg_logical_slot_get_binary_changes("
        "'sizing', NULL, NULL, 'proto_version', '4', 'publication_names', 'bench')"
    )
    await publisher.execute("SELECT pg_drop_replication_slot('sizing')")
    await publisher.execute("TRUNCATE complaint_changes")
    return float(total) / len(pairs)


def _rows(agency: str, pairs: Sequence[Pair]) -> Iterator[tuple[UUID, str, str, str]]:
    """The table's rows."""
    for line, content in pairs:
        found = CHANGE_ID.search(line)
        assert found
        yield UUID(found[1].decode()), agency, line.decode(), content.decode()
