"""The lines between nodes and hub: requests and replies get lost, late, repeated, cut and mixed up, by the seed.

A node's side is the real HubClient and the real Transport with its repeats; only the one exchange of bytes is here.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from yarl import URL

from node.link.errors import Unreachable
from node.link.transport import Answer, Transport, _retry_after_s
from node.ports import Clock, Randomness
from sync_protocol.problems import refused_from_problem
from sync_protocol.wire import ADMISSION_HEADER
from tests.sim.door import Reply, Request
from tests.sim.faults import Faults, machine_of
from tests.sim.process import Process, look_at

HUB_URL: Final = "http://127.0.0.1:8700"
SILENCE_S: Final = 60.0  # after that a caller gives up (node/link/transport.py)
CAPTURED_MAX: Final = 200  # what an eavesdropper keeps


class Server(Protocol):
    """Who answers."""

    def admit(self, request: Request) -> asyncio.Task[Reply] | None:
        """A task of the hub's process; None where nobody listens."""
        ...


class Listener(Protocol):
    """Who is told of everything that goes over the lines."""

    def sent(self, process: Process, request: Request) -> None: ...

    def answered(self, request: Request, reply: Reply, *, may_fail: bool) -> None: ...


@dataclass
class Network:
    """All lines. `cut` names machines whose line is down."""

    faults: Faults
    server: Server
    listener: Listener

    def __post_init__(self) -> None:
        self.cut: dict[str, None] = {}
        self.captured: deque[Request] = deque(maxlen=CAPTURED_MAX)
        self._replies: dict[str, Reply] = {}  # the newest reply to a push, by machine
        self._was_stale: dict[str, None] = {}
        self._late: set[asyncio.Task[None]] = set()

    async def exchange(self, process: Process, request: Request) -> Reply:
        """One request and its reply. Raises Unreachable."""
        faults, rates, draw = self.faults, self.faults.rates, self.faults.random
        machine = machine_of(process)
        self.listener.sent(process, request)
        if request.method != "GET":
            self.captured.append(request)
        await asyncio.sleep(draw.random() * (0.05 if faults.is_calm else rates.delay_s))
        if machine in self.cut or faults.happens(rates.lost_request):
            await self._silence(machine, "request lost")
        if faults.happens(rates.repeated):
            self._deliver_late(request, draw.random() * 90)
        if request.body and faults.happens(rates.cut_body):
            part = request.body[: draw.randrange(len(request.body))]
            await self.deliver(replace(request, body=part, is_cut=draw.random() < 0.5))
            await self._silence(machine, "cut")
        reply = await self.deliver(request)
        if reply is None:
            faults.tell(f"{machine} no answer")
            raise Unreachable("nobody answered")
        if faults.happens(rates.lost_reply):
            await self._silence(machine, "reply lost")
        await asyncio.sleep(draw.random() * (0.05 if faults.is_calm else rates.delay_s))
        return self._maybe_stale(machine, request, reply)

    async def deliver(self, request: Request) -> Reply | None:
        """To the hub, if one listens and lives until it has answered."""
        failed = self.faults.failed_writes
        task = self.server.admit(request)
        if task is None:
            return None
        task.add_done_callback(look_at)
        await asyncio.wait([task], timeout=SILENCE_S)
        if not task.done() or task.cancelled() or task.exception() is not None:
            return None
        self.listener.answered(request, task.result(), may_fail=self.faults.failed_writes != failed)
        return task.result()

    def _deliver_late(self, request: Request, after_s: float) -> None:
        async def later() -> None:
            await asyncio.sleep(after_s)
            self.faults.tell(f"a repeat arrives: {request.method} {URL(request.url).path}")
            await self.deliver(request)

        # In no process's context: what is on the line does not die with its sender.
        task = asyncio.get_running_loop().create_task(later(), context=contextvars.Context())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _silence(self, machine: str, why: str) -> None:
        self.faults.tell(f"{machine} {why}")
        await asyncio.sleep(1 + self.faults.random.random() * (SILENCE_S - 1))
        raise Unreachable(why)

    def _maybe_stale(self, machine: str, request: Request, reply: Reply) -> Reply:
        """What a proxy gives that mixes its answers up: never twice running, or it would be the hub's word."""
        if request.method != "PUT" or reply.status >= 300:
            return reply
        earlier, faults = self._replies.get(machine), self.faults
        self._replies[machine] = reply
        if earlier is not None and machine not in self._was_stale and faults.happens(faults.rates.stale_reply):
            self._was_stale[machine] = None
            faults.tell(f"{machine} gets an earlier reply")
            return earlier
        self._was_stale.pop(machine, None)
        return reply


class SimTransport(Transport):
    """The real transport but for the one exchange."""

    def __init__(self, network: Network, process: Process, clock: Clock, randomness: Randomness) -> None:
        super().__init__(HUB_URL, clock=clock, randomness=randomness, proxies={})
        self._network = network
        self._process = process

    async def _once(
        self, method: str, url: URL, max_bytes: int, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        self._process.check()
        faults, what = self._network.faults, f"{method} {url.path}"
        faults.at_call(self._process, what)
        address = machine_of(self._process)
        reply = await self._network.exchange(
            self._process, Request(method, str(url), headers, body or b"", address=address)
        )
        self._process.check()
        faults.tell(f"{self._process.name} {what} {reply.status}")
        faults.at_call(self._process, f"the answer to {what}")
        if len(reply.body) > max_bytes:
            raise Unreachable("the answer is larger than any that the hub gives")
        if 200 <= reply.status < 300:
            return Answer(
                reply.status, reply.body, reply.headers.get("Content-Encoding"), reply.headers.get(ADMISSION_HEADER)
            )
        raise refused_from_problem(
            reply.status,
            reply.body,
            content_type=reply.headers.get("Content-Type", ""),
            retry_after_s=_retry_after_s(reply.headers.get("Retry-After")),
        )
