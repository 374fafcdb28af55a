"""The hub under load: change sets of 1,000 changes over real HTTP on loopback, one hub process, SQLite."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp

from keys.signer import Ed25519Signer, SealingKey
from node.link.hub_client import HubClient
from node.link.transport import Transport
from node.system import SystemClock, SystemRandomness
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.jws import parse_jws
from sync_protocol.note import VerifierKey
from sync_protocol.possession import sign_enrolment_proof
from sync_protocol.values import AgencyId, b64u_encode
from sync_protocol.wire import CHANGE_SET_MEDIA_TYPE, EnrolmentRequest
from tests.bench.hub_process import ServingProcess, simpul
from tests.bench.load import LoadAgency

ORIGIN = "bench.simpul.example/log"
AGENCIES = 16
CHANGES_A_SET = 1_000


@dataclass
class HubFigures:
    """Medians over the rounds; rates in changes a second, memory in MiB, CPU in µs a change."""

    accepted_per_s: float
    hub_cpu_us: float
    wire_bytes: float
    idle_mib: float
    first_round_mib: float
    peak_mib: float
    rounds: list[float]


async def enrol(hub: ServingProcess, vkey: str, code: str, seed: int) -> LoadAgency:
    """An agency enrolled for real, ready to sign ahead."""
    token = str((await asyncio.to_thread(simpul, "hub", "invite", str(hub.directory), code))["token"])
    chance = random.Random(seed)
    signer = Ed25519Signer.from_seed(chance.randbytes(32))
    sealing = SealingKey.from_seed(chance.randbytes(32)).public_key
    agency = AgencyId.parse(code)
    link = HubClient(Transport(hub.url, clock=SystemClock(), randomness=SystemRandomness()), code, lambda: signer)
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


async def bench_acceptance(*, rounds: int, sets_a_round: int, project: bool) -> HubFigures:
    """Rounds of `sets_a_round` sets for each of 16 agencies, after one to warm up; the log keeps growing.

    With `project`, a round ends when the projection has caught up.
    """
    with tempfile.TemporaryDirectory(prefix="simpul-bench-") as folder:
        directory = Path(folder) / "hub"
        vkey = str(simpul("hub", "init", str(directory), "--origin", ORIGIN)["vkey"])
        hub = ServingProcess.start(directory, env={"SIMPUL_PROJECTOR": "true" if project else "false"})
        try:
            agencies = [await enrol(hub, vkey, f"33.{10 + number}", number) for number in range(AGENCIES)]
            return await _rounds(hub, agencies, rounds, sets_a_round, project=project)
        finally:
            hub.stop()


async def _rounds(
    hub: ServingProcess, agencies: list[LoadAgency], rounds: int, sets_a_round: int, *, project: bool
) -> HubFigures:
    idle = hub.resident_mib()
    rates: list[float] = []
    cpu: list[float] = []
    changes = AGENCIES * sets_a_round * CHANGES_A_SET
    wire = first = 0.0
    for number in range(rounds + 1):
        sets = [[(agency.seq + 1, agency.sign_set(CHANGES_A_SET)) for _ in range(sets_a_round)] for agency in agencies]
        wire = sum(len(body) for bodies in sets for _, body in bodies) / changes
        cpu_before = hub.cpu_s()
        seconds = await push_all(hub.url, agencies, sets)
        if project:
            seconds += await _until_projected(hub.url)
        if number == 0:
            first = hub.resident_mib()
            continue
        rates.append(changes / seconds)
        cpu.append((hub.cpu_s() - cpu_before) / changes * 1e6)
    return HubFigures(median(rates), median(cpu), wire, idle, first, hub.resident_mib("VmHWM"), rates)


async def _until_projected(url: str) -> float:
    """Seconds until the projection stands where the log does."""
    begun = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/healthz") as response:
                health = await response.json()
            if health["projected_to"] >= health["size"]:
                return time.perf_counter() - begun
            await asyncio.sleep(0.01)
