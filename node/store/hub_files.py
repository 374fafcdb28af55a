"""Which files a hub has, and which lines name them (node/hub/file_ports.py FileRegister; protocol §13.5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, exists, func, select

from node.store.hub_append import insert_unless_there
from node.store.hub_records import NamedFile
from node.store.hub_register import SqlHubRegister
from node.store.hub_tables import ErasedLineRow, NamedFileRow, table_of

_NAMED, _ERASED = table_of(NamedFileRow), table_of(ErasedLineRow)
_COLUMNS = (_NAMED.c.idx, _NAMED.c.leaf, _NAMED.c.agency, _NAMED.c.complaint, _NAMED.c.file, _NAMED.c.size)
_IS_ERASED = exists().where(_ERASED.c.idx == _NAMED.c.idx, _ERASED.c.leaf == _NAMED.c.leaf)


class SqlHubFiles(SqlHubRegister):
    """See FileRegister, the same for every database."""

    async def add_file(self, lines: Sequence[NamedFile]) -> bool:
        gone = select(_ERASED.c.idx, _ERASED.c.leaf).where(_ERASED.c.idx.in_({one.index for one in lines}))
        async with self.writer.begin() as connection:
            erased = {(row.idx, row.leaf) for row in await connection.execute(gone)}
            rows = [_row_of(one) for one in lines if (one.index, one.leaf) not in erased]
            if rows:
                await connection.execute(insert_unless_there(connection, _NAMED), rows)
        return bool(rows)

    async def lines_naming(self, file: bytes) -> list[NamedFile]:
        query = select(*_COLUMNS).where(_NAMED.c.file == file, ~_IS_ERASED).order_by(_NAMED.c.idx, _NAMED.c.leaf)
        return [_named(row) for row in await self.read_rows(query)]

    async def file_bytes_of(self, agency: str) -> int:
        one_of_each = select(_NAMED.c.file, func.max(_NAMED.c.size).label("size"))
        files = one_of_each.where(_NAMED.c.agency == agency).group_by(_NAMED.c.file).subquery()
        return int((await self.read_rows(select(func.coalesce(func.sum(files.c.size), 0))))[0][0])

    async def files_to_erase(self, limit: int) -> list[NamedFile]:
        query = (
            select(*_COLUMNS)
            .join(_ERASED, (_ERASED.c.idx == _NAMED.c.idx) & (_ERASED.c.leaf == _NAMED.c.leaf))
            .order_by(_NAMED.c.idx, _NAMED.c.leaf)
            .limit(limit)
        )
        return [_named(row) for row in await self.read_rows(query)]

    async def forget_file(self, named: NamedFile) -> None:
        async with self.writer.begin() as connection:
            await connection.execute(delete(_NAMED).where(_NAMED.c.idx == named.index, _NAMED.c.leaf == named.leaf))

    async def named_among(self, files: Collection[bytes]) -> set[bytes]:
        rows = await self.read_rows(select(_NAMED.c.file).where(_NAMED.c.file.in_(files)).distinct())
        return {row.file for row in rows}


def _row_of(named: NamedFile) -> dict[str, object]:
    return {
        "idx": named.index,
        "leaf": named.leaf,
        "agency": named.agency,
        "complaint": named.complaint,
        "file": named.file,
        "size": named.size,
    }


def _named(row: Any) -> NamedFile:
    return NamedFile(row.idx, row.leaf, row.agency, row.complaint, row.file, row.size)
