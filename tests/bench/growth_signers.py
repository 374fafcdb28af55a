"""Agencies that sign change sets ahead, in processes of their own, so that the hub has the other core.

The sets are what a node makes: real lines, Merkle root, manifest, two zstd frames (load.py). A process keeps the chains
of its agencies; nothing but bodies comes out of it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from keys.signer import Ed25519Signer, SealingKey
from node.hub.hub import Hub
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.note import VerifierKey
from sync_protocol.possession import sign_enrolment_proof
from sync_protocol.values import AgencyId, Digest, b64u_encode
from sync_protocol.wire import EnrolmentRequest
from tests.bench.load import LoadAgency
from tests.bench.national_hub import ORIGIN

Bodies = dict[str, list[tuple[int, bytes]]]  # for each agency its next sets in order: seq, body


@dataclass(frozen=True)
class Enrolled:
    """What a process needs in order to sign for an agency: its key's seed, where its chain begins, what it has seen."""

    agency: str
    seed: bytes
    enrolment: bytes
    note: bytes
    vkey: str

    def begin(self) -> LoadAgency:
        """The chain before its first set."""
        seen = open_checkpoint(self.note, [VerifierKey.parse(self.vkey)], ORIGIN)
        signer = Ed25519Signer.from_seed(self.seed)
        chance = random.Random(self.seed)
        return LoadAgency(AgencyId.parse(self.agency), signer, Digest(self.enrolment), seen, chance)


async def enrol(hub: Hub, agency: AgencyId) -> Enrolled:
    """In the log, by an invitation and a proof of possession as for every node."""
    seed = hub.randomness.bytes(32)
    signer = Ed25519Signer.from_seed(seed)
    sealing = SealingKey.from_seed(hub.randomness.bytes(32)).public_key
    token = await hub.invite(agency)
    proof = sign_enrolment_proof(signer, origin=ORIGIN, agency=agency, sealing=sealing, token=token)
    words = {"key": b64u_encode(signer.public_key), "sealing": b64u_encode(sealing)}
    await hub.enrolments.enrol(EnrolmentRequest(agency=str(agency), proof=proof, token=token, **words))
    record = hub.log.roster.agency(agency)
    assert record is not None
    return Enrolled(str(agency), seed, bytes(record.enrolment), hub.log.published.note, hub.log.roster.vkey.format())


def _sign_forever(orders: Connection, enrolled: list[Enrolled]) -> None:
    """One process: an order is (sets for each agency, changes in each, which agencies)."""
    chains = {each.agency: each.begin() for each in enrolled}
    while (order := orders.recv()) is not None:
        sets, changes, agencies = order
        wanted = [chains[agency] for agency in agencies if agency in chains]
        orders.send(
            {str(chain.agency): [(chain.seq + 1, chain.sign_set(changes)) for _ in range(sets)] for chain in wanted}
        )


class Signers:
    """Some processes, the agencies dealt out among them. `close` ends them."""

    def __init__(self, enrolled: list[Enrolled], processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.agencies = [each.agency for each in enrolled]
        self._lines: list[Connection] = []
        self._processes: list[Any] = []
        self._turn = asyncio.Lock()
        for number in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_sign_forever, args=(theirs, enrolled[number::processes]), daemon=True)
            process.start()
            theirs.close()
            self._lines.append(ours)
            self._processes.append(process)

    async def sign(self, sets: int, changes: int, agencies: list[str]) -> Bodies:
        """So many sets for each of the agencies, of so many changes each."""
        order = (sets, changes, agencies)
        async with self._turn:
            parts = await asyncio.gather(*(asyncio.to_thread(_ask, line, order) for line in self._lines))
        return {agency: bodies for part in parts for agency, bodies in part.items()}

    def close(self) -> None:
        """At once."""
        for process in self._processes:
            process.terminate()
            process.join()
        for line in self._lines:
            line.close()


def _ask(line: Connection, order: tuple[int, int, list[str]]) -> Bodies:
    line.send(order)
    bodies: Bodies = line.recv()
    return bodies
