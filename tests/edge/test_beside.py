"""What runs beside a block ends with the block, and neither keeps it nor breaks it."""

from __future__ import annotations

import asyncio

import pytest

from node.beside import beside


class Works:
    """How many run, and how many came to their end."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.has_begun = asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        self.has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as one that closes what it holds
            self.ended += 1

    async def break_down(self) -> None:
        raise OSError("disk full")


async def test_works_have_ended_when_the_block_is_left_also_by_an_error() -> None:
    works = Works()

    async def breaks_off() -> None:
        async with beside(works.run(), works.run()):
            await works.has_begun.wait()
            raise KeyError

    with pytest.raises(KeyError):
        await breaks_off()
    assert (works.begun, works.ended) == (2, 2)


async def test_a_work_that_breaks_down_takes_neither_the_block_nor_the_others_with_it() -> None:
    works = Works()
    async with beside(works.break_down(), works.run()):
        await works.has_begun.wait()
        await asyncio.sleep(0)
        assert (works.begun, works.ended) == (1, 0)
    assert works.ended == 1
