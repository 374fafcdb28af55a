"""Whether a process serves the directory, by its health endpoint: asked as a monitor would ask it."""

from __future__ import annotations

from typing import Any, Final

import aiohttp
import msgspec

from node.doctor.findings import Finding, Words, fail, ok, warn

ANSWER_S: Final = 5.0
ANSWER_MAX_BYTES: Final = 65_536  # a problem is some hundred bytes
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - addresses to ask at


async def check_serving(host: str, port: int, *, is_tls: bool) -> Finding:
    """Asks `/healthz` where the settings say that the directory is served."""
    host = _EVERYWHERE.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    url = f"{'https' if is_tls else 'http'}://{shown}:{port}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session,
            session.get(f"{url}/healthz", ssl=False) as answer,  # our own process; the certificate is another check
        ):
            status, body = answer.status, await _beginning_of(answer)
    except (OSError, aiohttp.ClientError, TimeoutError):
        step = Words(
            "Start `serve` (a node may push from a timer instead). If it listens elsewhere, set host and port.",
            "Jalankan `serve` (node boleh mengirim lewat timer). Bila alamatnya lain, setel host dan port.",
        )
        return warn("serving", Words(f"nobody serves at {url}", f"tidak ada yang melayani di {url}"), step)
    if status == 200:
        return ok("serving", Words(f"{url} is healthy", f"{url} sehat"))
    words = _detail_of(body) or f"HTTP {status}"
    step = Words("Look at the other findings, and at its log.", "Lihat temuan lain, dan log-nya.")
    return fail("serving", Words(f"{url} is not healthy: {words}", f"{url} tidak sehat: {words}"), step)


async def _beginning_of(answer: aiohttp.ClientResponse) -> bytes:
    """All of its body, of a longer one as much as is looked at; it may come in pieces."""
    body = b""
    while len(body) < ANSWER_MAX_BYTES and (piece := await answer.content.read(ANSWER_MAX_BYTES - len(body))):
        body += piece
    return body


def _detail_of(body: bytes) -> str:
    try:
        problem: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    return str(problem.get("detail", "")) if isinstance(problem, dict) else ""
