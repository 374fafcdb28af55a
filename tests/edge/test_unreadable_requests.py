"""What a server cannot read as HTTP is answered by a problem that repeats nothing of it, and is in no log."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.edge.hub_lab import running_hub
from tests.edge.node_api import serving
from tests.edge.sms_node import SECRET, SENDER, sms_node

PERSONAL = (b"081234567890", b"s3cr3t-of-smsbox")
QUERY = b"/sms?secret=s3cr3t-of-smsbox&from=081234567890&text="
ATTACKS = {
    "a line over every limit": b"GET " + QUERY + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header over every limit": b"GET / HTTP/1.1\r\nHost: x\r\nX-From: 081234567890 s3cr3t-of-smsbox"
    + b"y" * 40_000
    + b"\r\n\r\n",
    "no method": b"081234567890 " + QUERY + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "no header": b"GET / HTTP/1.1\r\nHost: x\r\n081234567890 s3cr3t-of-smsbox\r\n\r\n",
    "two lengths": b"POST "
    + QUERY
    + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 081234567890\r\n\r\n",
}


async def exchanged(url: str, request: bytes) -> bytes:
    """Everything that is answered until the server hangs up."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def check_attacks(url: str) -> None:
    for name, request in ATTACKS.items():
        head, _, body = (await exchanged(url, request)).partition(b"\r\n\r\n")
        assert head.split()[1] == b"400", (name, head)
        assert b"content-type: application/problem+json" in head.lower(), name
        problem = json.loads(body)
        assert (problem["type"], problem["status"], problem["title"]) == ("about:blank", 400, "Bad Request"), name
        assert problem["detail"], name
        assert problem["next"], name
        for word in PERSONAL:
            assert word not in head + body, name


async def test_attack_the_hubs_parser_is_made_to_repeat_a_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running_hub(tmp_path) as lab:
        await check_attacks(lab.url)
        assert (await lab.call("GET", "/checkpoint")).status == 200
    logged = "".join(capfd.readouterr())
    assert "not http" in logged
    assert not any(word.decode() in logged for word in PERSONAL)


async def test_attack_a_nodes_parser_is_made_to_repeat_a_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path) as api:
        await check_attacks(api.url)
    async with sms_node(tmp_path / "sms", secret=SECRET) as node:
        await check_attacks(node.url)
        line = f"GET /sms?secret={SECRET}&from={SENDER}&text={'x' * 34_000} HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await exchanged(node.url, line.encode())
        assert answer.split()[1] == b"400"
        assert SECRET.encode() not in answer
        line = f"GET /sms?secret={SECRET}&from={SENDER}&text={'x' * 33_000} HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await exchanged(node.url, line.encode())
        assert answer.split()[1] == b"413"
        assert b"urn:simpul:problem:too-large" in answer
    logged = "".join(capfd.readouterr())
    assert not any(word.decode() in logged for word in (*PERSONAL, SECRET.encode(), SENDER.encode()))
