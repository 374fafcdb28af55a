"""What one append writes, inside the caller's transaction (protocol §6.3): all of it or nothing.

`write_commit` is for SQLite; what both databases understand stands below it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Insert, Table, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from node.store.hub_records import Commit, Fork
from node.store.hub_tables import (
    TILE_LEVEL_SHIFT,
    ChangeSetRow,
    CheckpointRow,
    ForkRow,
    HashTileRow,
    HeadRow,
    InvitationRow,
    LogEntryRow,
    MissingSetRow,
    SetChangesRow,
    SetContentsRow,
    StatementRow,
    table_of,
)

STATEMENT_KIND: Final = 0
CHANGE_SET_KIND: Final = 1

_ENTRY, _STATEMENT, _SET = table_of(LogEntryRow), table_of(StatementRow), table_of(ChangeSetRow)
_CHANGES, _CONTENTS, _HEAD = table_of(SetChangesRow), table_of(SetContentsRow), table_of(HeadRow)
_TILE, _CHECKPOINT, _FORK = table_of(HashTileRow), table_of(CheckpointRow), table_of(ForkRow)
_INVITATION, _MISSING = table_of(InvitationRow), table_of(MissingSetRow)

_HEAD_COLUMNS: Final = tuple(column.name for column in _HEAD.columns)
_UPSERT_HEAD: Final = sqlite.insert(_HEAD).on_conflict_do_update(
    index_elements=["agency"],
    set_={name: sqlite.insert(_HEAD).excluded[name] for name in ("epoch", "seq", "digest", "idx", "received_at_ms")},
)
_UPSERT_TILE: Final = sqlite.insert(_TILE).on_conflict_do_update(
    index_elements=["place"], set_={"hashes": sqlite.insert(_TILE).excluded.hashes}
)


async def write_commit(connection: AsyncConnection, commit: Commit) -> None:
    """Everything in `commit`; the caller has checked that it follows the newest checkpoint."""
    await _write_log(connection, commit)
    await _write_sets(connection, commit)
    await write_rest(connection, commit)


async def _write_log(connection: AsyncConnection, commit: Commit) -> None:
    """Entries, tiles and the checkpoint over them."""
    statements = {statement.index for statement in commit.statements}
    entries = [
        {"idx": index, "kind": STATEMENT_KIND if index in statements else CHANGE_SET_KIND, "entry": entry}
        for index, entry in enumerate(commit.entries, commit.follows)
    ]
    tiles = [{"place": level << TILE_LEVEL_SHIFT | n, "hashes": h} for (level, n), h in commit.tiles.items()]
    checkpoint = commit.checkpoint
    await connection.execute(_ENTRY.insert(), entries)
    await connection.execute(_UPSERT_TILE, tiles)
    await connection.execute(
        _CHECKPOINT.insert(),
        [
            {
                "size": checkpoint.size,
                "follows": checkpoint.follows,
                "root": checkpoint.root,
                "note": checkpoint.note,
                "at_ms": checkpoint.at_ms,
            }
        ],
    )


async def _write_sets(connection: AsyncConnection, commit: Commit) -> None:
    """Sets, their two parts and the heads that they move."""
    if not commit.sets:
        return
    rows = [
        {
            "idx": new.stored.index,
            "agency": new.stored.agency,
            "seq": new.stored.seq,
            "epoch": new.stored.epoch,
            "digest": new.stored.digest,
            "changes": new.stored.changes,
            "size": new.stored.size,
            "hidden": new.stored.hidden,
            "erased": new.stored.erased,
            "received_at_ms": new.stored.received_at_ms,
        }
        for new in commit.sets
    ]
    newest = {row["agency"]: row for row in rows}
    heads = [{name: row[name] for name in _HEAD_COLUMNS} for row in newest.values()]
    await connection.execute(_SET.insert(), rows)
    there = [new for new in commit.sets if not new.is_missing]
    if there:
        await connection.execute(_CHANGES.insert(), [{"idx": n.stored.index, "frame": n.changes_frame} for n in there])
        await connection.execute(
            _CONTENTS.insert(), [{"idx": n.stored.index, "frame": n.contents_frame} for n in there]
        )
    await connection.execute(_UPSERT_HEAD, heads)


def has_rest(commit: Commit) -> bool:
    """Whether there is anything for `write_rest` to write; there seldom is."""
    return bool(commit.statements or commit.used_invitations or commit.forks or commit.is_restored)


async def write_rest(connection: AsyncConnection, commit: Commit) -> None:
    """Where the statements are, sets without lines, invitations that were used, forks seen (each pair once)."""
    missing = [new.stored for new in commit.sets if new.is_missing]
    if missing:
        rows = [{"idx": stored.index, "agency": stored.agency, "seq": stored.seq} for stored in missing]
        await connection.execute(_MISSING.insert(), rows)
    if commit.statements:
        await connection.execute(
            _STATEMENT.insert(),
            [{"idx": s.index, "typ": s.typ, "agency": s.agency, "digest": s.digest} for s in commit.statements],
        )
    for used in commit.used_invitations:
        await connection.execute(
            update(_INVITATION)
            .where(_INVITATION.c.token_hash == used.token_hash, _INVITATION.c.used_by.is_(None))
            .values(used_by=used.used_by, used_idx=used.used_index)
        )
    for fork in commit.forks:
        await write_fork(connection, fork)


def insert_unless_there(connection: AsyncConnection, table: Table) -> Insert:
    """An INSERT that leaves alone what is there already."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


async def write_fork(connection: AsyncConnection, fork: Fork) -> None:
    """Evidence, unless this pair is there already."""
    row = {
        "agency": fork.agency,
        "epoch": fork.epoch,
        "seq": fork.seq,
        "held_digest": fork.held_digest,
        "other_digest": fork.other_digest,
        "held": fork.held,
        "other": fork.other,
        "at_ms": fork.at_ms,
        "statement_idx": fork.statement_index,
    }
    await connection.execute(insert_unless_there(connection, _FORK).values(row))
