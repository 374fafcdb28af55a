"""The peer: NATS JetStream with a file store and deduplication ids, and a consumer that fills a SQLite table.

Two times: publishing until every message is acknowledged (which JetStream does before its file is fsynced), and then
the catch-up of a consumer from that backlog. A message is one change, or a set compressed as ours are.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sync_protocol.compression import compress_part
from tests.bench.contest import Absent, Times
from tests.bench.load import Work
from tests.bench.nats_client import NatsConnection, connect
from tests.bench.nats_consumer import CHANGE_ID, DURABLE, ROWS_A_COMMIT, STREAM
from tests.bench.processes import tree_cpu_s

UNACKED_MAX: Final = 4_000  # messages under way at once: a usual window of an asynchronous publisher
START_LIMIT_S: Final = 20.0
SUBJECT: Final = "changes"


@dataclass
class JetStream:
    """A server with the stream, and the consumer's process. Use `open_nats`."""

    connection: NatsConnection
    server: asyncio.subprocess.Process
    consumer: asyncio.subprocess.Process
    changes_a_message: int
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    rows: int = 0
    wire_bytes: float = 0.0

    async def prepare(self, work: Work) -> None:
        """The messages, each with its id."""
        self.rows = work.changes
        self.messages = []
        for agency, pairs in work.in_turn():
            for start in range(0, len(pairs), self.changes_a_message):
                some = pairs[start : start + self.changes_a_message]
                text = b"\n".join(part for pair in some for part in (agency.encode(), *pair))
                found = CHANGE_ID.search(text)
                assert found
                body = compress_part(text) if self.changes_a_message > 1 else text
                self.messages.append((found[1].decode(), body))

    async def run(self) -> Times:
        """Publish everything, then let the consumer catch up."""
        written, begun = self.connection.written, time.perf_counter()
        await self._publish_all()
        accepted = time.perf_counter() - begun
        self.wire_bytes = (self.connection.written - written) / self.rows
        assert self.consumer.stdin
        assert self.consumer.stdout
        begun = time.perf_counter()
        self.consumer.stdin.write(f"GO {self.rows}\n".encode())
        said = await self.consumer.stdout.readline()
        if not said.startswith(b"DONE"):
            raise RuntimeError("the consumer ended before it had every row")
        return Times(accepted, time.perf_counter() - begun)

    def cpu_s(self) -> float:
        """Of the server and the consumer."""
        return tree_cpu_s(self.server.pid) + tree_cpu_s(self.consumer.pid)

    def facts(self) -> dict[str, float]:
        """Bytes a change from the publisher to the server."""
        return {"wire_bytes": self.wire_bytes}

    async def _publish_all(self) -> None:
        """Until the last ack, with a bounded number under way. Raises RuntimeError where one is no plain ack."""
        room = asyncio.Semaphore(UNACKED_MAX)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = len(self.messages)

        def acked(_reply: bytes, _headers: bytes, payload: bytes) -> None:
            nonlocal waiting
            waiting -= 1
            room.release()
            if (b'"error"' in payload or b'"duplicate"' in payload) and not done.done():
                done.set_exception(RuntimeError(payload.decode()))
            elif not waiting and not done.done():
                done.set_result(None)

        inbox = f"{self.connection.inbox}.acks.{self.messages[0][0]}"
        self.connection.subscribe(inbox, acked)
        for message_id, payload in self.messages:
            await room.acquire()
            self.connection.publish(SUBJECT, payload, reply=inbox, message_id=message_id)
            await self.connection.drain()
        await self.connection.expect(done)


@asynccontextmanager
async def open_nats(folder: Path, *, changes_a_message: int) -> AsyncIterator[JetStream]:
    """A server and a consumer in `folder`. Raises Absent where there is no nats-server on the PATH."""
    program = shutil.which("nats-server")
    if program is None:
        raise Absent("no nats-server here (Debian: apt-get install nats-server)")
    async with _running(program, *_server_words(folder)) as server:
        port = await _port(folder, server)
        async with connect("127.0.0.1", port) as connection:
            await _create(connection)
            words = (str(port), str(folder / "table.db"), str(max(ROWS_A_COMMIT // changes_a_message, 1)))
            async with _running(sys.executable, "-m", "tests.bench.nats_consumer", *words) as consumer:
                assert consumer.stdout
                await consumer.stdout.readline()
                yield JetStream(connection, server, consumer, changes_a_message)


def _server_words(folder: Path) -> tuple[str, ...]:
    return ("-js", "-sd", str(folder / "store"), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(folder))


@asynccontextmanager
async def _running(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with pipes, ended with the block."""
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=null)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _port(folder: Path, server: asyncio.subprocess.Process) -> int:
    """Where the server listens, from the file that it writes once it does. Raises RuntimeError, TimeoutError."""
    place = folder / f"nats-server_{server.pid}.ports"
    begun = time.perf_counter()
    while not place.exists() or not place.read_text():
        if server.returncode is not None or time.perf_counter() - begun > START_LIMIT_S:
            raise RuntimeError("nats-server did not start")
        await asyncio.sleep(0.05)
    address = str(json.loads(place.read_text())["nats"][0])
    return int(address.rpartition(":")[2])


async def _create(connection: NatsConnection) -> None:
    """The stream, in files, which forgets ids after the usual two minutes; its consumer: an ack covers all before."""
    stream = {"name": STREAM, "subjects": [SUBJECT], "storage": "file", "duplicate_window": 120_000_000_000}
    await connection.request(f"$JS.API.STREAM.CREATE.{STREAM}", stream)
    durable = {"durable_name": DURABLE, "ack_policy": "all", "deliver_policy": "all", "max_ack_pending": 20_000}
    await connection.request(
        f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{DURABLE}", {"stream_name": STREAM, "config": durable}
    )
