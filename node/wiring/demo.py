"""Wiring of the demonstration: a hub and local nodes that serve within this process, each from its own directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from node.hub.http import RUNNER_OPTIONS as HUB_OPTIONS
from node.hub.http import build_app as build_hub_app
from node.hub.hub import Hub
from node.local.http import RUNNER_OPTIONS as NODE_OPTIONS
from node.local.http import build_app as build_node_app
from node.local.service import LocalService
from node.local.status import NodeStatus
from node.local.status import node_status as status_of
from node.serving import listening
from node.wiring import hub as hub_wiring
from node.wiring import local as local_wiring

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class RunningNode:
    """A local node that takes in and pushes. `url` is its intake's."""

    url: str
    service: LocalService
    parts: local_wiring.NodeParts

    async def status(self) -> NodeStatus:
        """What `simpul node status` says."""
        return await status_of(self.parts.store, self.parts.clock)


@asynccontextmanager
async def running_hub(directory: Path) -> AsyncIterator[tuple[Hub, str]]:
    """The hub of a directory, serving on a free port of loopback; with its address."""
    async with hub_wiring.opened(directory) as hub:
        await hub.start()
        async with listening(build_hub_app(hub), LOOPBACK, 0, options=HUB_OPTIONS) as url:
            yield hub, url


@asynccontextmanager
async def running_node(directory: Path) -> AsyncIterator[RunningNode]:
    """The node of a directory, serving on a free port of loopback, its pusher at work."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(local_wiring.opened(directory))
        link = parts.link()
        stack.push_async_callback(link.close)
        pusher = parts.pusher(link)
        service = await stack.enter_async_context(parts.service(pusher.wake))
        stop = asyncio.Event()
        pushing = asyncio.create_task(pusher.run(stop), name=f"pusher-{parts.agency}")
        stack.push_async_callback(local_wiring._end, pushing, stop)
        app = build_node_app(service, parts.store, parts.clock, parts.randomness)
        url = await stack.enter_async_context(listening(app, LOOPBACK, 0, options=NODE_OPTIONS))
        yield RunningNode(url, service, parts)
