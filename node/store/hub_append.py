"""What one append writes to `hub.db`, inside the caller's transaction (protocol §6.3): all of it or nothing."""

from __future__ import annotations

from typing import Final

from sqlalchemy import update
from sqlalchemy.dialects.sqlite import insert
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
_INVITATION = table_of(InvitationRow)

_HEAD_COLUMNS: Final = tuple(column.name for column in _HEAD.columns)
_UPSERT_HEAD: Final = insert(_HEAD).on_conflict_do_update(
    index_elements=["agency"],
    set_={name: insert(_HEAD).excluded[name] for name in ("epoch", "seq", "digest", "idx", "received_at_ms")},
)
_UPSERT_TILE: Final = insert(_TILE).on_conflict_do_update(
    index_elements=["place"], set_={"hashes": insert(_TILE).excluded.hashes}
)


async def write_commit(connection: AsyncConnection, commit: Commit) -> None:
    """Everything in `commit`; the caller has checked that it follows the newest checkpoint."""
    await _write_log(connection, commit)
    await _write_sets(connection, commit)
    await _write_evidence(connection, commit)


async def _write_log(connection: AsyncConnection, commit: Commit) -> None:
    """Entries, tiles, statements and the checkpoint over them."""
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
    if commit.statements:
        await connection.execute(
            _STATEMENT.insert(),
            [{"idx": s.index, "typ": s.typ, "agency": s.agency, "digest": s.digest} for s in commit.statements],
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
    await connection.execute(
        _CHANGES.insert(), [{"idx": n.stored.index, "frame": n.changes_frame} for n in commit.sets]
    )
    await connection.execute(
        _CONTENTS.insert(), [{"idx": n.stored.index, "frame": n.contents_frame} for n in commit.sets]
    )
    await connection.execute(_UPSERT_HEAD, heads)


async def _write_evidence(connection: AsyncConnection, commit: Commit) -> None:
    """Invitations that were used, and forks that were seen (each pair once)."""
    for used in commit.used_invitations:
        await connection.execute(
            update(_INVITATION)
            .where(_INVITATION.c.token_hash == used.token_hash, _INVITATION.c.used_by.is_(None))
            .values(used_by=used.used_by, used_idx=used.used_index)
        )
    for fork in commit.forks:
        await write_fork(connection, fork)


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
    await connection.execute(insert(_FORK).values(row).on_conflict_do_nothing())
