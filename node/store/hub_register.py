"""The smaller registers of `hub.db`: invitations, grants, evidence (node/hub/ports.py HubStore)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from node.store.hub_append import write_fork
from node.store.hub_records import Fork, Grant, Invitation
from node.store.hub_tables import ContentReadRow, ForkRow, GrantRow, InvitationRow, table_of

_INVITATION, _GRANT, _FORK = table_of(InvitationRow), table_of(GrantRow), table_of(ForkRow)
_READ = table_of(ContentReadRow)


class SqlHubRegister:
    """What the hub keeps beside the log itself."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine) -> None:
        self.writer = writer
        self.readers = readers

    async def read_rows(self, query: Any) -> Sequence[Row[Any]]:
        """All rows of a query, in a snapshot of its own."""
        async with self.readers.connect() as connection:
            return (await connection.execute(query)).all()

    async def close(self) -> None:
        await self.readers.dispose()
        await self.writer.dispose()

    async def add_invitation(self, invitation: Invitation) -> None:
        row = {
            "token_hash": invitation.token_hash,
            "agency": invitation.agency,
            "created_at_ms": invitation.created_at_ms,
        }
        async with self.writer.begin() as connection:
            await connection.execute(_INVITATION.insert().values(row))

    async def invitation(self, token_hash: bytes) -> Invitation | None:
        rows = await self.read_rows(select(_INVITATION).where(_INVITATION.c.token_hash == token_hash))
        if not rows:
            return None
        row = rows[0]
        return Invitation(row.token_hash, row.agency, row.created_at_ms, row.used_by, row.used_idx)

    async def open_invitations(self, agencies: Sequence[str]) -> list[Invitation]:
        unused = (_INVITATION.c.used_by.is_(None), _INVITATION.c.agency.in_(agencies))
        rows = await self.read_rows(select(_INVITATION).where(*unused))
        return [Invitation(row.token_hash, row.agency, row.created_at_ms) for row in rows]

    async def add_grant(self, grant: Grant) -> None:
        row = {
            "token_hash": grant.token_hash,
            "name": grant.name,
            "with_content": grant.with_content,
            "created_at_ms": grant.created_at_ms,
        }
        async with self.writer.begin() as connection:
            await connection.execute(_GRANT.insert().values(row))

    async def grant(self, token_hash: bytes) -> Grant | None:
        rows = await self.read_rows(select(_GRANT).where(_GRANT.c.token_hash == token_hash))
        if not rows:
            return None
        row = rows[0]
        return Grant(row.token_hash, row.name, row.with_content, row.created_at_ms, row.ended_at_ms)

    async def end_grants(self, name: str, at_ms: int) -> int:
        async with self.writer.begin() as connection:
            ended = await connection.execute(
                update(_GRANT).where(_GRANT.c.name == name, _GRANT.c.ended_at_ms.is_(None)).values(ended_at_ms=at_ms)
            )
        return ended.rowcount

    async def record_content_read(self, reader: str, what: str, at_ms: int) -> None:
        async with self.writer.begin() as connection:
            await connection.execute(_READ.insert().values(reader=reader, what=what, at_ms=at_ms))

    async def content_reads(self) -> list[tuple[int, str, str]]:
        """(when, who, what) of every time content was shown to somebody who does not own it."""
        return [(row.at_ms, row.reader, row.what) for row in await self.read_rows(select(_READ).order_by(_READ.c.id))]

    async def record_fork(self, fork: Fork) -> None:
        async with self.writer.begin() as connection:
            await write_fork(connection, fork)

    async def forks(self) -> list[Fork]:
        rows = await self.read_rows(select(_FORK).order_by(_FORK.c.id))
        return [
            Fork(
                agency=row.agency,
                epoch=row.epoch,
                seq=row.seq,
                held_digest=row.held_digest,
                other_digest=row.other_digest,
                held=row.held,
                other=row.other,
                at_ms=row.at_ms,
                statement_index=row.statement_idx,
            )
            for row in rows
        ]
