"""The hub under load with both its planes in PostgreSQL: a server of its own beside it, with the peer's settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.bench.contest import Times
from tests.bench.hub_bench import HubUnderLoad, open_hub_under_load
from tests.bench.load import Work
from tests.bench.postgres_cluster import PostgresCluster, quieten

DATABASE = "simpul"


@dataclass
class HubOnPostgres:
    """A contestant: the hub, and a connection to say when its server is to be quiet."""

    hub: HubUnderLoad
    cluster: PostgresCluster
    connection: asyncpg.Connection[Any]

    async def prepare(self, work: Work) -> None:
        """Sign everything; then a checkpoint, as the peer has one before each round."""
        await self.hub.prepare(work)
        await quieten(self.connection)

    async def run(self) -> Times:
        """Push everything; with a projector, wait for it."""
        return await self.hub.run()

    def cpu_s(self) -> float:
        """Of the hub's processes and of the whole server."""
        return self.hub.cpu_s() + self.cluster.cpu_s()

    def facts(self) -> dict[str, float]:
        """Of the hub."""
        return self.hub.facts()


@asynccontextmanager
async def open_hub_on_postgres(folder: Path, *, project: bool, processes: int) -> AsyncIterator[HubOnPostgres]:
    """A fresh cluster in `folder` and a new hub on it."""
    with PostgresCluster.running(folder / "pg") as cluster:
        await cluster.create_database(DATABASE)
        connection = await asyncpg.connect(cluster.dsn())
        try:
            url = cluster.url(DATABASE)
            async with open_hub_under_load(project=project, database_url=url, processes=processes) as hub:
                yield HubOnPostgres(hub, cluster, connection)
        finally:
            connection.terminate()
