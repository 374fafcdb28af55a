"""The receiving side of the NATS peer, a process of its own: a JetStream pull consumer that fills a SQLite table.

`python -m tests.bench.nats_consumer PORT DATABASE`. A line `GO n` on stdin: fetch until n rows more are committed (WAL,
synchronous=FULL, one commit for up to a thousand rows, acknowledged after it), then say `DONE seconds`. Each message is
a change line and its content line, or many of those compressed with zstd.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from sync_protocol.compression import zstd
from tests.bench.nats_client import NatsConnection, connect

STREAM: Final = "CHANGES"
DURABLE: Final = "table"
ROWS_A_COMMIT: Final = 1_000
EXPIRES_NS: Final = 5_000_000_000
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
CHANGE_ID: Final = re.compile(rb'"id":"([0-9a-f-]{36})"')
INSERT: Final = "INSERT OR IGNORE INTO complaint_changes VALUES (?, ?, ?, ?)"
Row = tuple[bytes, str, bytes, bytes]


def open_table(path: Path) -> sqlite3.Connection:
    """The same columns as the other peer's, ids as 16 bytes."""
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS complaint_changes "
        "(id BLOB PRIMARY KEY, agency TEXT NOT NULL, change BLOB NOT NULL, content BLOB NOT NULL)"
    )
    return database


def rows(message: bytes) -> list[Row]:
    """A message's rows: agency, change line and content line, in turn."""
    text = zstd.decompress(message) if message.startswith(ZSTD_MAGIC) else message
    parts = text.split(b"\n")
    found = []
    for agency, change, content in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        identity = CHANGE_ID.search(change)
        assert identity
        found.append((bytes.fromhex(identity[1].decode().replace("-", "")), agency.decode(), change, content))
    return found


def store(database: sqlite3.Connection, messages: list[bytes]) -> int:
    """One durable transaction; how many rows."""
    found = [row for message in messages for row in rows(message)]
    database.execute("BEGIN")
    database.executemany(INSERT, found)
    database.execute("COMMIT")
    return len(found)


class Fetching:
    """Messages of one pull at a time, asked for before the last pull's are stored."""

    def __init__(self, connection: NatsConnection, messages: int) -> None:
        self._connection = connection
        self._messages = messages
        self._inbox = f"{connection.inbox}.pull"
        self._got: list[tuple[bytes, bytes]] = []
        self._full: asyncio.Future[list[tuple[bytes, bytes]]] = asyncio.get_running_loop().create_future()
        connection.subscribe(self._inbox, self._take)

    def ask(self) -> asyncio.Future[list[tuple[bytes, bytes]]]:
        """The next messages with their ack subjects: as many as a pull has, or fewer when the stream has no more."""
        self._got, self._full = [], asyncio.get_running_loop().create_future()
        pull = {"batch": self._messages, "expires": EXPIRES_NS, "no_wait": True}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}"
        self._connection.publish(subject, json.dumps(pull).encode(), reply=self._inbox)
        return self._full

    def _take(self, reply: bytes, headers: bytes, payload: bytes) -> None:
        if reply:
            self._got.append((reply, payload))
        elif not headers.startswith(b"NATS/1.0 4"):  # 404 or 408: there are no more just now
            return
        if not self._full.done() and (not reply or len(self._got) == self._messages):
            self._full.set_result(self._got)


async def consume(connection: NatsConnection, fetching: Fetching, database: sqlite3.Connection, wanted: int) -> None:
    """Until that many rows are committed and acknowledged."""
    pending = fetching.ask()
    while wanted > 0:
        got = await connection.expect(pending)
        pending = fetching.ask()  # after the last row the answer is that there are no more
        if got:
            wanted -= await asyncio.to_thread(store, database, [payload for _, payload in got])
            connection.publish(got[-1][0].decode(), b"+ACK")  # of all before it, too
        else:
            await asyncio.sleep(0.005)


async def main(port: int, path: Path, messages: int) -> None:
    """Serve the commands on stdin until it ends."""
    with closing(open_table(path)) as database:
        async with connect("127.0.0.1", port) as connection:
            fetching = Fetching(connection, messages)
            print("READY", flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                begun = time.perf_counter()
                await consume(connection, fetching, database, int(line.split()[1]))
                print(f"DONE {time.perf_counter() - begun}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
