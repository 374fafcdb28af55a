"""The cast of the demonstration: the hub, its nodes and the link that will be cut; founding, watching, draining."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from node.cli.demo_flow import Seat
from node.cli.demo_link import CuttableLink
from node.cli.demo_view import AgencyLine, Scene
from node.directory import Agency
from node.hub.hub import Hub
from node.ports import Clock
from node.wiring import hub as hub_wiring
from node.wiring import local as local_wiring
from node.wiring.demo import RunningNode, running_hub, running_node
from sync_protocol.errors import Unavailable

ORIGIN: Final = "simpul.example/demo"
LOOK_S: Final = 0.2
NOTICED_S: Final = 10.0  # a pusher that has something to send meets a cut link within its first attempt
DRAIN_S: Final = 60.0  # many times the longest pause of an outage that was so short
DRAIN_S_PER_COMPLAINT: Final = 0.05


@dataclass
class Cast:
    """Everybody on stage. `link` is the way of the first agency to the hub."""

    hub: Hub
    hub_directory: Path
    hub_url: str
    vkey: str
    link: CuttableLink
    clock: Clock
    scene: Scene
    nodes: list[RunningNode] = field(default_factory=list)

    @property
    def seats(self) -> list[Seat]:
        """Where complaints arrive."""
        return [Seat(node.service, line) for node, line in zip(self.nodes, self.scene.agencies, strict=True)]

    async def look(self) -> None:
        """Brings the scene up to date."""
        for node, line in zip(self.nodes, self.scene.agencies, strict=True):
            status = await node.status()
            line.unsent = status.unsent + status.unacknowledged
            line.pusher = status.pusher
            line.troubles = status.troubles
        if self.scene.agencies:
            self.scene.agencies[0].link_whole = self.link.whole
        self.scene.log_size = self.hub.log.size
        self.scene.change_sets = sum(head.seq for head in self.hub.log.stored_heads.values())

    async def watch(self) -> None:
        """Looks again and again, until it is cancelled."""
        while True:
            await self.look()
            await self.clock.sleep(LOOK_S)

    async def until_cut_is_noticed(self) -> None:
        """Returns when a node has run into the cut link, or has nothing to send through it."""
        deadline_s = self.clock.monotonic_s() + NOTICED_S
        while self.clock.monotonic_s() < deadline_s and not self.link.refused:
            await self.look()
            if not self.scene.agencies[0].unsent:
                return
            await self.clock.sleep(LOOK_S)

    async def until_drained(self, complaints: int) -> None:
        """Returns when every change has its receipt. Raises Unavailable, naming who is not through."""
        deadline_s = self.clock.monotonic_s() + DRAIN_S + DRAIN_S_PER_COMPLAINT * complaints
        while True:
            await self.look()
            behind = [line for line in self.scene.agencies if line.unsent]
            if not behind:
                return
            if self.clock.monotonic_s() > deadline_s or any(line.pusher == "halted" for line in behind):
                words = "; ".join(f"{line.code} {line.pusher}: {' '.join(line.troubles)}" for line in behind)
                raise Unavailable(f"not everything reached the hub ({words})")
            await self.clock.sleep(LOOK_S)


async def assemble(stack: AsyncExitStack, agencies: Sequence[Agency], home: Path, scene: Scene, clock: Clock) -> Cast:
    """Founds the hub, invites and enrols the agencies over HTTP, and lets everything serve until the stack closes."""
    hub_directory = home / "hub"
    founded = await hub_wiring.init_hub(hub_directory, origin=ORIGIN, database_url=None)
    hub, hub_url = await stack.enter_async_context(running_hub(hub_directory))
    address = urlsplit(hub_url)
    link = CuttableLink(str(address.hostname), int(address.port or 0))
    link_url = await link.open()
    stack.push_async_callback(link.close)
    cast = Cast(hub, hub_directory, hub_url, founded["vkey"], link, clock, scene)
    for agency in agencies:
        invitation = await hub_wiring.invite(hub_directory, agency.code)
        await local_wiring.enrol(
            home / agency.code,
            hub=hub_url if cast.nodes else link_url,
            vkey=invitation["vkey"],
            agency=agency.code,
            token=invitation["token"],
            ca_file=None,
            allow_plain_http=False,
        )
        cast.nodes.append(await stack.enter_async_context(running_node(home / agency.code)))
        scene.agencies.append(AgencyLine(agency.code, agency.name))
    return cast
