"""Recording changes: one writer, one commit for everybody who waits (protocol §10; architecture G2).

Callers put commands in a queue; one task takes all that wait, judges them in order inside one transaction, writes them
in bulk and answers after the commit. A commit costs the same for one change as for a hundred, so many callers at once
are as fast as one that sends a hundred. A command that is refused fails alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

import structlog

from node.local.import_service import ImportOutcome
from node.local.importers.rows import ImportedRow, SourceKey, refused_row
from node.local.ports import LocalStore
from node.local.recording import Batch, Command, Minting, Outcome, names_in
from node.logs import words_of
from node.store.local_records import Found, RowConflict, WrittenRows
from sync_protocol.errors import Refused, Unavailable

BATCH_COMMANDS_MAX: Final = 256  # in one transaction: judged in about ten milliseconds, in which nobody else can write
FEW_COMMANDS: Final = 4  # judged sooner than a thread wakes up
TROUBLE_SHOWN_S: Final = 900.0  # with nothing recorded since, nobody knows whether it is over: then it is not told
WAITING_MAX: Final = 4_096  # callers that wait; more would wait longer than their own timeouts

_logger = structlog.get_logger("simpul.node.service")


@dataclass(frozen=True, slots=True)
class _Job:
    commands: Sequence[Command]
    done: asyncio.Future[list[Outcome | Refused]]


def _nobody() -> None:
    """For services without a pusher."""


class LocalService:
    """Takes in changes of one agency. Use as an async context: leaving it writes what was taken in, then stops."""

    def __init__(self, store: LocalStore, minting: Minting, *, on_recorded: Callable[[], None] = _nobody) -> None:
        self.store = store
        self.minting = minting
        self.on_recorded = on_recorded
        self._waiting: asyncio.Queue[_Job] = asyncio.Queue(WAITING_MAX)
        self._writer: asyncio.Task[None] | None = None
        self._failed_at_ms: int | None = None  # the newest attempt to write, if it failed

    @property
    def is_failing(self) -> bool:
        """Whether what was to be recorded lately could not be written: a full disk, or one that is read-only."""
        if self._failed_at_ms is None:
            return False
        return self.minting.clock.now_ms() - self._failed_at_ms <= TROUBLE_SHOWN_S * 1_000

    async def __aenter__(self) -> Self:
        await self._erase()
        self._writer = asyncio.create_task(self._write_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._waiting.join()
        if self._writer is not None:
            self._writer.cancel()
            with suppress(asyncio.CancelledError):
                await self._writer

    async def record(self, command: Command) -> Outcome:
        """Durable when it returns.

        Raises Refused (malformed, too-large, change-refused with its `verdict`, idempotency-key-reused), Unavailable
        if too many wait already, and what the store raises.
        """
        (outcome,) = await self.record_all([command])
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    async def record_all(self, commands: Sequence[Command]) -> list[Outcome | Refused]:
        """In one transaction, in order; one outcome each. Raises as `record`, but never Refused."""
        if self._writer is None or self._writer.done():
            raise Unavailable("this node is stopping", retry_after_s=5)
        job = _Job(commands, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(job)
        except asyncio.QueueFull:
            raise Unavailable("too many requests wait to be recorded", retry_after_s=1) from None
        return await job.done

    async def import_rows(self, rows: Sequence[ImportedRow]) -> ImportOutcome:
        """See ImportTarget: one `imported` change for each row whose source is not known yet."""
        outcomes = await self.record_all([_import_command(row) for row in rows])
        refused = [
            refused_row(row.line, _reason(outcome))
            for row, outcome in zip(rows, outcomes, strict=True)
            if isinstance(outcome, Refused)
        ]
        repeats = sum(isinstance(outcome, Outcome) and outcome.is_repeat for outcome in outcomes)
        return ImportOutcome(len(rows) - repeats - len(refused), repeats, refused)

    async def known_sources(self, sources: Collection[SourceKey]) -> set[SourceKey]:
        """See ImportTarget."""
        found = await self.store.sources([(source.system, source.id) for source in sources])
        return {SourceKey(system, number) for system, number in found}

    async def _write_forever(self) -> None:
        while True:
            jobs = [await self._waiting.get()]
            size = len(jobs[0].commands)
            while size < BATCH_COMMANDS_MAX and not self._waiting.empty():
                jobs.append(self._waiting.get_nowait())
                size += len(jobs[-1].commands)
            try:
                await self._write_jobs(jobs)
            finally:
                for _ in jobs:
                    self._waiting.task_done()

    async def _write_jobs(self, jobs: Sequence[_Job]) -> None:
        """Answers every job, whatever happens."""
        try:
            outcomes = await self._write([command for job in jobs for command in job.commands])
        except RowConflict as error:
            # The store would not take one of them, which the judge did not foresee: find out which, spare the others.
            if len(jobs) == 1:
                _fail(jobs, error)
            for job in jobs if len(jobs) > 1 else ():
                await self._write_jobs([job])
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            self._failed_at_ms = self.minting.clock.now_ms()
            _fail(jobs, error)
        except BaseException:
            _fail(jobs, Unavailable("this node is stopping, and may have recorded it: ask again", retry_after_s=5))
            raise
        else:
            if any(isinstance(one, Outcome) and not one.is_repeat for one in outcomes):
                self._failed_at_ms = None
            if any(command.type == "erased" for job in jobs for command in job.commands):
                await self._erase()
            start = 0
            for job in jobs:
                if not job.done.done():
                    job.done.set_result(outcomes[start : start + len(job.commands)])
                start += len(job.commands)
            self.on_recorded()

    async def _erase(self) -> None:
        """What fails now is noted in the database, and done at the next start at the latest."""
        try:
            await self.store.carry_out_erasures()
        except Exception as error:  # noqa: BLE001 - a full disk, a busy database: the change itself is recorded
            _logger.warning("erasing failed", error=words_of(error))

    async def _write(self, commands: Sequence[Command]) -> list[Outcome | Refused]:
        outcomes: list[Outcome | Refused] = []

        def judge(found: Found) -> WrittenRows:
            batch = Batch.over(self.minting, found)
            batch.judge(commands)
            outcomes.extend(batch.outcomes)
            return batch.rows()

        named = names_in(commands)
        # Erasing looks through all that was ever said in a complaint.
        await self.store.record(named, judge, few=len(commands) <= FEW_COMMANDS and not named.erasing)
        return outcomes


def _fail(jobs: Sequence[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(error)


def _import_command(row: ImportedRow) -> Command:
    source = {"id": row.source.id, "system": row.source.system}
    return Command(
        type="imported",
        data={**row.data, "source": source},
        content=row.content,
        role="system",
        once_for=(row.source.system, row.source.id),
    )


def _reason(refused: Refused) -> str:
    return refused.detail + (f" ({refused.where})" if refused.where else "")
