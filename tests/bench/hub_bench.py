"""The hub under load: change sets of 1,000 changes over real HTTP on loopback, as a contestant beside its peers."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from keys.signer import Ed25519Signer, SealingKey
from node.link.hub_client import HubClient
from node.link.transport import Transport
from node.system import SystemClock, SystemRandomness
from node.wiring import hub as hub_wiring
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.jws import parse_jws
from sync_protocol.note import VerifierKey
from sync_protocol.possession import sign_enrolment_proof
from sync_protocol.values import AgencyId, b64u_encode
from sync_protocol.wire import CHANGE_SET_MEDIA_TYPE, EnrolmentRequest
from tests.bench.contest import Times
from tests.bench.hub_process import ServingProcess, simpul
from tests.bench.load import LoadAgency, Work

ORIGIN = "bench.simpul.example/log"
AGENCIES = 16
AGENCY_CODES = tuple(f"33.{10 + number}" for number in range(AGENCIES))
CHANGES_A_SET = 1_000
POLL_S = 0.01


async def invite_all(directory: Path) -> list[str]:
    """The tokens of all agencies of the bench: what `simpul hub invite` does, without a start of Python for each."""
    async with hub_wiring.opened(directory) as hub:
        return [await hub.invite(AgencyId.parse(code)) for code in AGENCY_CODES]


async def enrol_all(url: str, vkey: str, tokens: list[str]) -> list[LoadAgency]:
    """The invited agencies, in the order of their codes."""
    invited = zip(AGENCY_CODES, tokens, strict=True)
    return [await enrol(url, vkey, code, token, seed) for seed, (code, token) in enumerate(invited)]


async def enrol(url: str, vkey: str, code: str, token: str, seed: int) -> LoadAgency:
    """An agency enrolled for real, ready to sign ahead."""
    chance = random.Random(seed)
    signer = Ed25519Signer.from_seed(chance.randbytes(32))
    sealing = SealingKey.from_seed(chance.randbytes(32)).public_key
    agency = AgencyId.parse(code)
    link = HubClient(Transport(url, clock=SystemClock(), randomness=SystemRandomness()), code, lambda: signer)
    proof = sign_enrolment_proof(signer, origin=ORIGIN, agency=agency, sealing=sealing, token=token)
    request = EnrolmentRequest(
        agency=code, key=b64u_encode(signer.public_key), sealing=b64u_encode(sealing), proof=proof, token=token
    )
    try:
        entered = await link.enrol(request)
    finally:
        await link.close()
    assert entered.statements is not None
    seen = open_checkpoint(entered.checkpoint.encode(), [VerifierKey.parse(vkey)], ORIGIN)
    enrolment = parse_jws(entered.statements[-1].statement)
    return LoadAgency(agency, signer, enrolment.digest, seen, chance)


async def push_all(url: str, agencies: list[LoadAgency], sets: list[list[tuple[int, bytes]]]) -> float:
    """All sets of each agency in order, the agencies side by side; seconds until the last receipt."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def push(agency: LoadAgency, bodies: list[tuple[int, bytes]]) -> None:
            for seq, body in bodies:
                address = f"{url}/v1/agencies/{agency.agency}/change-sets/{seq}?from=1"
                headers = {"Content-Type": CHANGE_SET_MEDIA_TYPE, "Content-Encoding": "zstd"}
                while True:
                    async with session.put(address, data=body, headers=headers) as response:
                        await response.read()
                        if response.status == 201:
                            break
                        assert response.status == 503, await response.text()
                        await asyncio.sleep(0.05)

        begun = time.perf_counter()
        await asyncio.gather(*(push(agency, bodies) for agency, bodies in zip(agencies, sets, strict=True)))
        return time.perf_counter() - begun


@dataclass
class HubUnderLoad:
    """A serving hub with 16 enrolled agencies: a contestant. Use `open_hub_under_load`.

    With `project`, a round ends when the projection has caught up; without, the projector is off and it ends with the
    last receipt.
    """

    hub: ServingProcess
    agencies: list[LoadAgency]
    project: bool
    idle_mib: float
    bodies: list[list[tuple[int, bytes]]] = field(default_factory=list)
    size: int = 0
    wire_bytes: float = 0.0

    async def prepare(self, work: Work) -> None:
        """Every set is signed and compressed before the clock runs."""
        self.bodies = [
            [(agency.seq + 1, agency.sign_pairs(pairs)) for pairs in work.sets[agency.agency]]
            for agency in self.agencies
        ]
        self.wire_bytes = sum(len(body) for bodies in self.bodies for _, body in bodies) / work.changes
        self.size = await log_size(self.hub.url) + sum(len(bodies) for bodies in self.bodies)

    async def run(self) -> Times:
        """Push everything; with a projector, wait for it."""
        accepted = await push_all(self.hub.url, self.agencies, self.bodies)
        visible = accepted + await _until_projected(self.hub.url, self.size) if self.project else None
        return Times(accepted, visible)

    def cpu_s(self) -> float:
        """Of the hub's processes."""
        return self.hub.cpu_s()

    def facts(self) -> dict[str, float]:
        """Bytes a change on the wire; resident memory at rest, now and at most, in MiB."""
        return {
            "wire_bytes": self.wire_bytes,
            "idle_mib": self.idle_mib,
            "resident_mib": self.hub.resident_mib(),
            "peak_mib": self.hub.resident_mib("VmHWM"),
        }


@asynccontextmanager
async def open_hub_under_load(
    *,
    project: bool,
    database_url: str | None = None,
    processes: int = 1,
) -> AsyncIterator[HubUnderLoad]:
    """A new hub in a folder of its own; `database_url` names an empty database, None is SQLite in that folder."""
    with tempfile.TemporaryDirectory(prefix="simpul-bench-") as folder:
        directory = Path(folder) / "hub"
        database = ("--database-url", database_url) if database_url else ()
        vkey = str(simpul("hub", "init", str(directory), "--origin", ORIGIN, *database)["vkey"])
        tokens = await invite_all(directory)
        words = ("--processes", str(processes)) if processes > 1 else ()
        hub = ServingProcess.start(directory, words=words, env={"SIMPUL_PROJECTOR": "true" if project else "false"})
        try:
            idle = hub.resident_mib()
            agencies = await enrol_all(hub.url, vkey, tokens)
            yield HubUnderLoad(hub, agencies, project, idle)
        finally:
            hub.stop()


async def log_size(url: str) -> int:
    """The newest published checkpoint's size, whichever process answers."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/checkpoint") as response:
        return int((await response.text()).splitlines()[1])


async def _until_projected(url: str, size: int) -> float:
    """Seconds until the projection has reached that size of the log. Each look may be answered by another process."""
    begun = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        while True:
            async with session.get(f"{url}/healthz") as response:
                said = await response.json()
            if said["projected_to"] >= size:
                return time.perf_counter() - begun
            await asyncio.sleep(POLL_S)
