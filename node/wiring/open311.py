"""Wiring of Open311, for directories whose settings name a table of services; the others do not load it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from node.channels.open311.endpoint import Endpoint
from node.channels.open311.http import add_routes
from node.channels.open311.hub_desk import HubDesk
from node.channels.open311.node_desk import NodeDesk
from node.channels.open311.reports import FORM_MAX_BYTES
from node.channels.open311.services import TABLE_MAX_BYTES, Services, ServiceTable, read_services
from node.deadlines.tables import deadlines_of_tables
from node.directory import load_directory, name_of
from node.hub.hub import Hub
from node.local.http import BODY_TIMEOUT_S
from node.local.http_middleware import OPEN_ROUTES
from node.local.http_problems import answer_to
from node.local.http_requests import read_body
from node.local.service import LocalService
from node.ports import Clock
from sync_protocol.errors import Refused, malformed


def add_to_node(app: web.Application, service: LocalService, table: Path, clock: Clock) -> None:
    """To a node's application, before it runs. Raises Refused(configuration)."""
    services = Services(service_table(table), own=service.minting.agency)
    deadlines = service.minting.deadlines or deadlines_of_tables()
    desk = NodeDesk(service, services, name_of_agency, deadlines)
    reading = partial(read_body, timeout_s=BODY_TIMEOUT_S, limit=FORM_MAX_BYTES)
    app[OPEN_ROUTES].update(add_routes(app, Endpoint(desk, services, clock), reading, answer_to))


def add_to_hub(app: web.Application, hub: Hub, table: Path, post_url: str | None) -> None:
    """To a hub's application, before it runs. Raises Refused(configuration)."""
    services = Services(service_table(table), own=None, is_agency=partial(_is_enrolled, hub))
    desk = HubDesk(hub, services, name_of_agency, post_url)
    add_routes(app, Endpoint(desk, services, hub.clock), _read_nothing, _raise_again)


def service_table(path: Path) -> ServiceTable:
    """From a file. Raises Refused(configuration)."""
    try:
        with path.open("rb") as file:
            data = file.read(TABLE_MAX_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        step = "Check open311_services in simpul.toml."
        raise Refused("configuration", f"{path} cannot be read: {error}", members={"next": step}) from None
    if len(data) > TABLE_MAX_BYTES:
        raise Refused("configuration", f"{path} is over {TABLE_MAX_BYTES} bytes", members={"next": "Shorten it."})
    return read_services(text)


def name_of_agency(code: str) -> str:
    """As the directory has it; the code of an agency that is not in it."""
    return name_of(code, load_directory())


def _is_enrolled(hub: Hub, code: str) -> bool:
    return hub.log.roster.agency(code) is not None


async def _read_nothing(_request: web.Request) -> bytes:
    raise malformed("nothing is posted to a hub", "body")


def _raise_again(error: Exception) -> NoReturn:
    raise error
