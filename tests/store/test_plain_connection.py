"""Plain connections: whole transactions or none, in turns with the writer, at once where that is quick."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from node.store.local_base import fetch
from node.store.local_store import SqlLocalStore
from node.store.plain_connection import AT_ONCE_MAX_S, LOG_MAX_FRAMES, WRITE_BACK_EVERY, PlainConnection

TRUSTED_S = 0.05  # a commit of a busy machine takes less


def make(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE note (word TEXT NOT NULL)")


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


async def test_small_work_on_a_quick_disk_is_done_without_a_thread(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"))
    here = threading.get_ident()
    try:
        await plain.write(make)
        assert await plain.write(lambda _: threading.get_ident(), small=True) == here
        assert await plain.read(lambda _: threading.get_ident(), small=True) == here
        assert await plain.write(lambda _: threading.get_ident()) != here
    finally:
        await plain.close()


async def test_a_disk_that_became_slow_is_waited_for_in_a_thread_and_trusted_again_later(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"), at_once_max_s=TRUSTED_S)
    here = threading.get_ident()

    def slow(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO note VALUES ('slow')")
        time.sleep(20 * TRUSTED_S)
        return threading.get_ident()

    try:
        await plain.write(make)
        assert await plain.write(slow, small=True) == here
        assert await plain.write(slow, small=True) != here
        seen = [await plain.write(lambda _: threading.get_ident(), small=True) for _ in range(100)]
        assert seen[0] != here
        assert seen[-1] == here
    finally:
        await plain.close()


async def test_another_process_that_writes_keeps_nobody_but_the_caller_waiting(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"))
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)
    turns = 0
    try:
        await plain.write(make)
        await plain.write(lambda connection: connection.execute("INSERT INTO note VALUES ('first')"), small=True)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(
            plain.write(lambda connection: connection.execute("INSERT INTO note VALUES ('second')"), small=True)
        )
        while not waiting.done():
            turns += 1
            if turns == 10:
                other.execute("COMMIT")
            await asyncio.sleep(0.01)
        await waiting
        assert turns >= 10
        assert await plain.fetch("SELECT count(*) FROM note") == [(2,)]
    finally:
        other.close()
        await plain.close()


async def test_small_work_that_fails_leaves_nothing_and_is_not_tried_twice(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"))
    calls: list[int] = []

    def failing(connection: sqlite3.Connection) -> None:
        calls.append(1)
        note_and_fail(connection)

    try:
        await plain.write(make)
        with pytest.raises(RuntimeError, match="in the middle"):
            await plain.write(failing, small=True)
        with pytest.raises(sqlite3.IntegrityError):
            await plain.write(lambda connection: connection.execute("INSERT INTO note VALUES (NULL)"), small=True)
        assert calls == [1]
        assert await plain.fetch("SELECT count(*) FROM note") == [(0,)]
    finally:
        await plain.close()


async def test_looking_often_does_not_make_a_slow_disk_look_quick(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"))
    here = threading.get_ident()

    def slow(_: sqlite3.Connection) -> int:
        time.sleep(5 * AT_ONCE_MAX_S)
        return threading.get_ident()

    try:
        await plain.write(make)
        where = []
        for _ in range(20):
            for _ in range(10):
                await plain.fetch("SELECT count(*) FROM note")
            where.append(await plain.write(slow, small=True))
        assert where.count(here) < 10
        assert where[-1] != here
    finally:
        await plain.close()


async def test_who_is_cancelled_while_a_thread_writes_waits_for_the_end_of_it(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"))
    ended: list[str] = []

    def slow(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO note VALUES ('late')")
        time.sleep(0.2)
        ended.append("work")

    try:
        await plain.write(make)
        writing = asyncio.create_task(plain.write(slow))
        await asyncio.sleep(0.05)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert ended == ["work"]
        assert await plain.fetch("SELECT word FROM note") == [("late",)]
    finally:
        await plain.close()


async def fill(plain: PlainConnection, commits: int) -> float:
    """Writes without a pause; the longest that one took, in seconds."""
    word, longest_s = "x" * 8_000, 0.0
    for _ in range(commits):
        begun_s = time.monotonic()
        await plain.write(lambda connection: connection.execute("INSERT INTO note VALUES (?)", (word,)), small=True)
        longest_s = max(longest_s, time.monotonic() - begun_s)
    return longest_s


@pytest.mark.slow
async def test_the_write_ahead_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"), at_once_max_s=60)
    try:
        await plain.write(make)
        await fill(plain, 16 * WRITE_BACK_EVERY)  # 12,000 frames
        assert (tmp_path / "a.db-wal").stat().st_size < 2 * LOG_MAX_FRAMES * 8_192
        assert (tmp_path / "a.db").stat().st_size > WRITE_BACK_EVERY * 8_000
    finally:
        await plain.close()


@pytest.mark.slow
async def test_somebody_who_reads_for_long_holds_nobody_up(tmp_path: Path) -> None:
    plain = PlainConnection(str(tmp_path / "a.db"), at_once_max_s=60)
    reader = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    try:
        await plain.write(make)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM note").fetchall()
        assert await fill(plain, 8 * WRITE_BACK_EVERY) < 5
    finally:
        reader.close()
        await plain.close()
