"""Whose address a request counts for, behind a proxy and without one, whatever is written into X-Forwarded-For."""

from __future__ import annotations

import urllib.error
import urllib.request
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from node.guessing import MISSES_MAX
from node.web.callers import HOPS_MAX, TRUSTED_PROXIES, caller_address, is_within
from sync_protocol.values import format_tracking
from tests.edge.hub_lab import running_hub
from tests.edge.node_api import serving
from tests.edge.sms_node import sms_node
from tests.edge.whole_way import ANSWER_S, NodeDirectory, end, serving_hub

TRUSTED = (ip_network("127.0.0.1"), ip_network("10.1.0.0/16"), ip_network("fd00::/8"))


def trusting(app: web.Application, _other: object) -> None:
    app[TRUSTED_PROXIES] = TRUSTED


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1", "203.0.113.7,10.1.2.3"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7", "10.1.9.9 , 10.1.2.3"], "203.0.113.7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:127.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("192.0.2.1", ["203.0.113.7"], "192.0.2.1"),
        ("10.2.0.1", ["203.0.113.7"], "10.2.0.1"),
        ("127.0.0.1", ["10.1.0.1, 127.0.0.1"], "127.0.0.1"),
        (None, ["203.0.113.7"], None),
        ("", ["203.0.113.7"], ""),
    ],
)
def test_only_a_trusted_proxy_says_whom_it_speaks_for(peer: str | None, forwarded: list[str], address: str) -> None:
    assert caller_address(peer, forwarded, TRUSTED) == address
    assert caller_address(peer, forwarded, ()) == peer


@pytest.mark.parametrize(
    "garbage",
    [
        *("", ",", ", ,,", "unknown", "203.0.113.7:80", "١٢٧.0.0.1", "\udcff\x00", "fe80::1%" * 9),
        *("9" * 8_000, "1," * 4_000, "127.0.0.1," * HOPS_MAX + "10.1.0.1"),
        "203.0.113.7," + "10.1.0.1," * 2_000 + "10.1.0.1",
    ],
)
def test_attack_garbage_in_the_header_raises_nothing_and_hides_nobody(garbage: str) -> None:
    assert caller_address("127.0.0.1", [garbage], TRUSTED) == "127.0.0.1"
    assert caller_address("127.0.0.1", [garbage] * 40, TRUSTED) == "127.0.0.1"
    assert caller_address("127.0.0.1", [garbage, "203.0.113.7"], TRUSTED) == "203.0.113.7"
    assert not is_within(garbage, TRUSTED)


async def test_attack_one_who_guesses_behind_the_hubs_proxy_shuts_tracking_for_nobody_else(tmp_path: Path) -> None:
    async with running_hub(tmp_path, prepare=trusting) as lab:

        async def ask(number: str, forwarded: str) -> int:
            return (await lab.call("GET", f"/v1/track/{number}", headers={"X-Forwarded-For": forwarded})).status

        for guess in range(MISSES_MAX):  # another invented address in front each time helps nobody
            assert await ask(format_tracking("KDR", guess), f"192.0.2.{guess}, 203.0.113.7") == 404
        assert await ask(format_tracking("KDR", 99), "198.51.100.1, 203.0.113.7") == 503
        assert await ask(format_tracking("KDR", 99), "203.0.113.8") == 404
        for guess in range(MISSES_MAX):  # an IPv6 subscriber has a network of addresses
            assert await ask(format_tracking("KDR", guess), f"2001:db8::{guess:x}") == 404
        assert await ask(format_tracking("KDR", 99), "2001:db8::ffff") == 503
        assert await ask(format_tracking("KDR", 99), "2001:db8:0:1::1") == 404


async def test_attack_one_who_guesses_behind_a_nodes_proxy_shuts_tracking_for_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path, trusting) as api:

        async def ask(number: str, forwarded: str) -> int:
            headers = {"X-Forwarded-For": forwarded}
            async with api.session.get(f"{api.url}/v1/track/{number}", headers=headers) as response:
                return response.status

        for guess in range(MISSES_MAX):
            assert await ask(format_tracking("PKL", guess), f"192.0.2.{guess}, 203.0.113.7") == 404
        assert await ask(format_tracking("PKL", 99), "203.0.113.7") == 503
        assert await ask(format_tracking("PKL", 99), "203.0.113.8") == 404


async def test_without_a_trusted_proxy_nobody_becomes_another_by_a_header(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        for guess in range(MISSES_MAX + 1):
            headers = {"X-Forwarded-For": f"203.0.113.{guess}"}
            answer = await lab.call("GET", "/v1/track/" + format_tracking("KDR", guess), headers=headers)
        assert answer.status == 503


async def test_a_mistyped_number_is_no_guess(tmp_path: Path) -> None:
    right = format_tracking("PKL", 5)
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    async with running_hub(tmp_path / "hub") as lab, serving(tmp_path) as api:
        for number in [wrong, "nonsense", "1" * 65] * MISSES_MAX:
            assert (await lab.call("GET", f"/v1/track/{number}")).status == 422
            async with api.session.get(f"{api.url}/v1/track/{number}") as response:
                assert response.status == 404
        assert (await lab.call("GET", f"/v1/track/{right}")).status == 404
        async with api.session.get(f"{api.url}/v1/track/{right}") as response:
            assert response.status == 404


async def test_the_gate_of_the_sms_channel_looks_at_whoever_the_proxy_speaks_for(tmp_path: Path) -> None:
    async with sms_node(tmp_path, allow="127.0.0.1, 10.9.0.1", proxies="127.0.0.1") as node:
        for forwarded, status in (("10.9.0.1", 200), ("127.0.0.1, 203.0.113.7", 403), ("10.9.0.1, 203.0.113.7", 403)):
            query = f"{node.url}/sms?from=6281234567890&text=INFO&id=m-1"
            async with node.session.get(query, headers={"X-Forwarded-For": forwarded}) as response:
                assert response.status == status


@pytest.mark.slow  # processes of the program
def test_the_setting_reaches_a_served_hub_and_a_served_node(tmp_path: Path) -> None:
    trusting = {"SIMPUL_TRUSTED_PROXIES": "127.0.0.1"}
    with serving_hub(tmp_path, **trusting) as hub:
        node = NodeDirectory(tmp_path / "node", "33.75")
        node.enrol(hub)
        server = node.serve(trusting)
        try:
            for url in (hub.url, server.url):
                for guess in range(MISSES_MAX):
                    assert asked(f"{url}/v1/track/{format_tracking('KDR', guess)}", "203.0.113.7") == 404
                assert asked(f"{url}/v1/track/{format_tracking('KDR', 99)}", "203.0.113.7") == 503
                assert asked(f"{url}/v1/track/{format_tracking('KDR', 99)}", "203.0.113.8") == 404
        finally:
            end(server)


def asked(url: str, forwarded: str) -> int:
    """The status of the answer."""
    request = urllib.request.Request(url, headers={"X-Forwarded-For": forwarded})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=ANSWER_S)
    caught.value.close()
    return caught.value.code
