"""A federation that lives through some weeks, for the tests of deadlines: complaints of several agencies, and ticks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from node.audit.deadlines import audit_deadlines
from node.audit.source import open_directory
from node.audit.url_source import UrlSource
from node.deadlines.tables import Deadlines, deadlines_of_tables
from node.hub.export import export_log
from node.hub.http_deadlines import figures_of
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import b64u_encode, parse_timestamp
from tests.edge.hub_lab import Agency, Lab, projected

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def at(lab: Lab, moment: str) -> None:
    """The clock of everybody; a date and an hour, UTC. It never goes back."""
    at_ms = parse_timestamp(f"{moment}:00:00.000Z")
    assert at_ms >= lab.clock.at_ms, moment
    lab.clock.at_ms = at_ms


async def tick(lab: Lab, moment: str | None = None) -> None:
    """The hub says what time it is."""
    if moment is not None:
        at(lab, moment)
    await lab.hub.appender.append_statement(lab.hub.statements.tick)


async def tick_until(lab: Lab, moment: str) -> None:
    """Every hour."""
    end_ms = parse_timestamp(f"{moment}:00:00.000Z")
    while lab.clock.at_ms < end_ms:
        lab.clock.at_ms = min(lab.clock.at_ms + HOUR_MS, end_ms)
        await tick(lab)


class Life:
    """One complaint and what is recorded of it, each change in a set of its own."""

    def __init__(self, agency: Agency) -> None:
        self.owner = agency
        self.id = agency.complaint()
        self.rev = 1

    @classmethod
    async def received(cls, agency: Agency) -> Life:
        """It arrives now."""
        life = cls(agency)
        await agency.push_new([agency.received(life.id)])
        return life

    async def change(self, type_: str, data: dict[str, Any] | None = None, *, agency: Agency | None = None) -> bytes:
        """The next change; its line."""
        agency = agency or self.owner
        self.rev += 1
        line = agency.change(self.id, type_, data, rev=self.rev)
        await agency.push_new([line])
        return line

    async def offer(self, to: Agency) -> bytes:
        """The offer's line."""
        return await self.change("offered", {"to": str(to.code), "reason": "named_by_reporter"})

    async def accept(self, offer: bytes, to: Agency) -> None:
        """From now on it is the other agency's."""
        await self.change("accepted", {"offer": b64u_encode(leaf_hash(offer))}, agency=to)
        self.owner = to


async def hub_figures(lab: Lab) -> Any:
    """What `GET /v1/deadlines` says of everybody."""
    await projected(lab)
    codes = sorted(str(record.agency) for record in lab.hub.log.roster.agencies)
    return msgspec.to_builtins(await figures_of(lab.hub, codes))


async def audited(lab: Lab, out: Path, deadlines: Deadlines | None = None) -> Any:
    """What an auditor makes of an export."""
    figures = await hub_figures(lab)
    published = lab.hub.log.published
    await export_log(
        lab.hub.store,
        size=published.size,
        note=published.note,
        description={"origin": lab.hub.log.roster.origin, "vkey": lab.vkey.format()},
        out=out,
        with_content=False,
        deadlines=figures,
    )
    return await audit_deadlines(open_directory(out), deadlines or deadlines_of_tables(), trusted=lab.vkey)


async def audited_live(lab: Lab, token: str) -> Any:
    """What an auditor makes of the hub itself."""
    source = UrlSource(lab.url, token=token)
    try:
        return await audit_deadlines(source, deadlines_of_tables(), trusted=lab.vkey)
    finally:
        await source.close()


def counts(figures: Any, agency: str, duty: str) -> dict[str, int]:
    """Those that are not zero."""
    return {name: count for name, count in figures["agencies"][agency]["duties"][duty].items() if count}
