"""What people ask of the projection, at a given size of the log: over HTTP, by an auditor (docs/performance.md)."""

from __future__ import annotations

import time
from typing import Any, Final

import aiohttp

from tests.bench.national_hub import NationalHub
from tests.bench.national_measures import percentile

ASKED: Final = 40
PAGES: Final = 20  # how far a list is turned over before its page is timed
QUERIES: Final = {
    "due, 50 lines": "/v1/agencies/{agency}/complaints?limit=50",
    "due, 200 lines": "/v1/agencies/{agency}/complaints?limit=200",
    "all states, 200 lines": "/v1/agencies/{agency}/complaints?state=all&limit=200",
    "figures of one agency": "/v1/totals?agency={agency}",
    "the country by state and class": "/v1/totals?by=state,class",
    "50 agencies by state": "/v1/totals?by=agency,state",
    "who is silent": "/v1/silent",
}


async def measure_queries(hub: NationalHub, agency: str) -> dict[str, dict[str, float]]:
    """Milliseconds of each, p50 and p99, the hub serving and at rest; `agency` holds a sixteenth of all complaints."""
    await hub.start()
    try:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {hub.auditor}"}) as session:
            paths = {name: path.format(agency=agency) for name, path in QUERIES.items()}
            paths[f"due, 200 lines, page {PAGES}"] = await _page(session, hub.url, paths["due, 200 lines"])
            return {name: await _asked(session, hub.url + path) for name, path in paths.items()}
    finally:
        await hub.stop()


async def _page(session: aiohttp.ClientSession, url: str, path: str) -> str:
    """The address of a page far behind."""
    after = ""
    for _ in range(PAGES - 1):
        more = (await _get(session, url + path + after)).get("next")
        after = f"&after={more}" if more else after
    return path + after


async def _get(session: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    async with session.get(address) as response:
        document: dict[str, Any] = await response.json()
        assert response.status == 200, document
        return document


async def _asked(session: aiohttp.ClientSession, address: str) -> dict[str, float]:
    seconds = []
    for _ in range(ASKED + 1):
        begun = time.perf_counter()
        await _get(session, address)
        seconds.append(time.perf_counter() - begun)
    ordered = sorted(seconds[1:])  # the first reads pages of the database that nobody had asked for
    return {"p50": percentile(ordered, 0.5) * 1000, "p99": percentile(ordered, 0.99) * 1000}
