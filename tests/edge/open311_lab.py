"""A local node with an Open311 endpoint, wired as `simpul node serve` wires it, and a client that reads both forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from aiohttp import web

from node.config_data import config_file
from node.local.recording import Command, Recorded
from node.local.service import LocalService
from node.local.tokens import create_token
from node.system import SystemClock, SystemRandomness
from node.wiring.open311 import add_to_node
from sync_protocol.values import format_timestamp
from tests.edge.node_api import Answer, Api, MovableClock, serving

V2 = "/open311/v2"
EXAMPLE = config_file("open311.example.toml").read_text(encoding="utf-8")
REPORT: Mapping[str, str] = {
    "service_code": "penerangan-jalan",
    "lat": "-6.8886",
    "long": "109.6753",
    "address_string": "Depan Pasar Grogolan, Pekalongan",
    "description": "Lampu padam tiga malam.\nGelap sekali & berbahaya <hati-hati>.",
    "first_name": "Sri",
    "last_name": "Wahyuni",
    "email": "sri.wahyuni@example.org",
    "phone": "081234567890",
    "account_id": "akun-77",
    "device_id": "perangkat-88",
    "media_url": "https://foto.example.org/1.jpg",
    "attribute[KEADAAN]": "padam",
}
PERSONAL = (
    "Sri", "Wahyuni", "sri.wahyuni@example.org", "081234567890", "akun-77", "perangkat-88", "foto.example.org",
)  # fmt: skip


def to_plain(raw: bytes) -> tuple[str, Any]:
    """Name of the root, and the document as text, lists of (name, value) and None: what the XML says, no more."""
    root = ElementTree.fromstring(raw)

    def plain(element: ElementTree.Element) -> Any:
        assert not element.attrib
        if len(element):
            assert not (element.text or "").strip()
            return [(inner.tag, plain(inner)) for inner in element]
        return element.text

    return root.tag, plain(root)


@dataclass
class Open311:
    """A client of the endpoint; `key` is its api_key, `name` what the key is called."""

    api: Api
    service: LocalService
    key: str

    @property
    def clock(self) -> MovableClock:
        return self.api.clock

    async def call(
        self, method: str, path: str, *, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Without any bearer token."""
        none = {"Authorization": ""} | dict(headers or {})
        return await self.api.call(method, path, data=data, headers=none)

    async def get(self, resource: str, **query: str) -> Answer:
        """A resource with its ending."""
        words = f"?{urlencode(query)}" if query else ""
        return await self.call("GET", f"{V2}/{resource}{words}")

    async def post(
        self, fields: Mapping[str, str] | Sequence[tuple[str, str]], resource: str = "requests.json", **headers: str
    ) -> Answer:
        """A form; the api_key goes along unless the fields bring one."""
        pairs = [*(fields.items() if isinstance(fields, Mapping) else fields)]
        if all(name != "api_key" for name, _ in pairs):
            pairs.append(("api_key", self.key))
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        form = {"Content-Type": "application/x-www-form-urlencoded"} | named
        return await self.call("POST", f"{V2}/{resource}", data=urlencode(pairs), headers=form)

    async def report(self, **fields: str) -> Any:
        """A new request of ours; the one object that was answered."""
        answer = await self.post(dict(REPORT) | fields)
        assert answer.status == 200, answer.raw
        (told,) = answer.body
        return told

    async def complaint(self, *, days_ago: float = 0, said: Mapping[str, Any] | None = None, **data: str) -> Recorded:
        """One of another channel, received some days ago."""
        at_ms = self.clock.now_ms() - int(days_ago * 86_400_000)
        codes = {"channel": "web", "visibility": "public", "received_at": format_timestamp(at_ms)} | data
        command = Command("received", codes, said or {"text": "Jalan berlubang."}, role="reporter")
        return (await self.service.record(command)).recorded

    async def change(self, complaint: str, type_: str, text: str | None = None, **data: str) -> Recorded:
        """A change to it by an officer."""
        command = Command(type_, data, {} if text is None else {"text": text}, complaint=complaint)
        return (await self.service.record(command)).recorded

    async def answered(self, complaint: str, text: str = "Sudah diperbaiki.") -> None:
        """Brings it to where a reporter may reply."""
        await self.change(complaint, "verified", **{"class": "complaint_ordinary"})
        await self.change(complaint, "assigned", unit="dpu")
        await self.change(complaint, "answered", text)


@asynccontextmanager
async def open311(place: Path, table: str | None = None, client: str = "open311/suara-warga") -> AsyncIterator[Open311]:
    """A node in `place` with the example table that shows words at once, or another one."""
    words = table if table is not None else EXAMPLE.replace('show_words = "verified"', 'show_words = "at_once"')
    (place / "open311.toml").write_text(words, encoding="utf-8")
    services: list[LocalService] = []

    def prepare(app: web.Application, service: LocalService) -> None:
        add_to_node(app, service, place / "open311.toml", service.minting.clock)
        services.append(service)

    async with serving(place, prepare) as api:
        key = await create_token(api.store, SystemClock(), SystemRandomness(), client)
        yield Open311(api, services[0], key)
