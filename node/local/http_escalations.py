"""`GET /v1/escalations`: what is overdue at other agencies, for the desk's officers; and its part of the document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from node.local.api_types import LIST_MAX
from node.local.escalation_book import EscalationBook
from node.local.http_requests import PAGE_DEFAULT, read_page

ESCALATIONS_ROUTE: Final = "/v1/escalations"


@dataclass(frozen=True, slots=True)
class EscalationRoutes:
    """The handler."""

    book: EscalationBook

    async def list(self, request: web.Request) -> web.Response:
        """From what this node keeps: the hub is not asked, so that the answer is there while it is away."""
        after, limit = read_page(request)
        page = await self.book.page(after, limit)
        return web.Response(body=msgspec.json.encode(page), content_type="application/json")


def escalations_operation(answers: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The call in the OpenAPI document; `answers` makes the answers for a schema and statuses."""
    limit = {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "default": PAGE_DEFAULT}
    return {
        "operationId": "listEscalations",
        "summary": "What is overdue at other agencies, the longest overdue first (at the national desk)",
        "description": "As of the newest look at the hub (`looked_at`), which the serving node takes every five "
        "minutes; `simpul node escalations DIR` takes one at once. An escalation stays listed until the hub no longer "
        "lists it as overdue. What the desk does with it: changes `recalled` and `directed`, once `recall` says on "
        "what ground.",
        "parameters": [
            {"name": "after", "in": "query", "schema": {"type": "string"}, "description": "`next` of the page before"},
            {"name": "limit", "in": "query", "schema": limit, "description": "escalations on a page"},
        ],
        "responses": answers(200, "A page", "EscalationPage", 401, 403, 422, 500, 503),
    }
