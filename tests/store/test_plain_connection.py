"""The pusher's plain connection: whole transactions or none, in turns with the writer (plain_connection.py)."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from node.store.local_base import fetch
from node.store.local_store import SqlLocalStore
from node.store.plain_connection import PlainConnection


def make(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE note (word TEXT)")


def note_and_fail(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO note VALUES ('half')")
    raise RuntimeError("in the middle")


async def test_work_that_fails_in_the_middle_leaves_nothing_and_the_next_goes_through(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"))
    try:
        await plain.write(make)
        with pytest.raises(RuntimeError, match="in the middle"):
            await plain.write(note_and_fail)
        await plain.write(lambda connection: connection.execute("INSERT INTO note VALUES ('whole')"))
        assert await plain.fetch("SELECT word FROM note") == [("whole",)]
    finally:
        await plain.close()


async def test_what_was_committed_survives_a_power_cut_as_the_writers_does(tmp_path: Path) -> None:
    store = await SqlLocalStore.create(tmp_path / "node.db")
    try:
        [(plain,)] = await store.plain.fetch("PRAGMA synchronous")
        async with store.writing() as connection:
            [(writers,)] = await fetch(connection, "PRAGMA synchronous")
        assert plain == writers == 2  # FULL
    finally:
        await store.close()


async def test_plain_writes_wait_for_the_writers_transaction_without_polling(tmp_path: Path) -> None:
    store = await SqlLocalStore.create(tmp_path / "node.db")
    order: list[str] = []

    async def plain_write() -> None:
        async with store.turn:
            await store.plain.write(lambda connection: connection.execute("CREATE TABLE later (word TEXT)"))
        order.append("plain")

    try:
        async with store.writing() as connection:
            waiting = asyncio.create_task(plain_write())
            await asyncio.sleep(0.05)
            await fetch(connection, "CREATE TABLE first (word TEXT)")
            order.append("writer")
        await waiting
        assert order == ["writer", "plain"]
    finally:
        await store.close()
