"""Wiring of the desk's escalations: what is kept of them, and what brings them while the node serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from node.beside import beside
from node.local.escalation_book import FOLDER_NAME, EscalationBook
from node.local.escalation_evidence import EscalationCheck
from node.local.escalation_watch import EscalationWatch
from node.local.hub_session import HubSession

if TYPE_CHECKING:
    from node.link.hub_client import HubClient
    from node.wiring.local import NodeParts


def book_of(parts: NodeParts) -> EscalationBook:
    """What this node keeps of others' overdue complaints; nothing, unless its agency is the desk."""
    federation, agency = parts.federation, parts.agency
    return EscalationBook(parts.settings.directory / FOLDER_NAME, lambda: federation.desk == agency)


def watch_of(parts: NodeParts, link: HubClient, book: EscalationBook) -> EscalationWatch:
    """What brings them."""
    check = EscalationCheck(parts.store, HubSession(parts.store, link, parts.keys, parts.agency), parts.deadlines)
    return EscalationWatch(book, link, check, parts.store, parts.federation, parts.clock, parts.agency)


@asynccontextmanager
async def watching(parts: NodeParts, link: HubClient) -> AsyncIterator[EscalationBook]:
    """Looks at work until the block ends. The rules were read before (Federation)."""
    book = book_of(parts)
    async with beside(watch_of(parts, link, book).run()):  # a look that is cut off is made again at the next start
        yield book
