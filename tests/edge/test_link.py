"""The link against real servers: what the hub may say, and what must never come out of it (protocol §7)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, InvalidSignature, MappingKeyResolver, algorithms
from yarl import URL

from keys.signer import Ed25519Signer
from node.link.errors import Unreachable
from node.link.hub_client import HubClient
from node.link.transport import Transport, check_base_url, proxy_for
from node.system import SystemClock, SystemRandomness
from sync_protocol.backoff import BLIP_ATTEMPTS_MAX
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.problems import Recovering, problem_body
from sync_protocol.wire import Consistency, Entered, RecoveryRequest, SeqRange, format_body

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SIGNER = Ed25519Signer.from_seed(b"k" * 32)
HUB = {
    "origin": "o",
    "vkey": "v",
    "genesis": "g",
    "protocol": 1,
    "fold": 1,
    "limits": {},
    "time": "t",
    "size": 3,
    "something_new": True,
}

ENTERED = Entered(
    index=3,
    receipt="r" * 600,
    checkpoint="c" * 200,
    consistency=Consistency(from_size=0, hashes=[]),
    hidden=0,
    erased=0,
)


class NowClock(SystemClock):
    """Signatures need the real time; sleeping costs none."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.001))


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that answers everything with `handler`; its address."""
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def linked(url: str, **options: Any) -> AsyncIterator[HubClient]:
    transport = Transport(url, clock=NowClock(), randomness=SystemRandomness(), **options)
    link = HubClient(transport, "33.75", lambda: SIGNER)
    try:
        yield link
    finally:
        await link.close()


def problem(error: Refused | Unavailable, **headers: str) -> web.Response:
    body = problem_body(error)
    status = body["status"]
    assert isinstance(status, int)
    return web.Response(body=format_body(body), status=status, content_type="application/problem+json", headers=headers)


async def test_an_answer_may_say_more_than_this_version_knows() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(HUB)

    async with serving(handler) as url, linked(url) as link:
        assert (await link.describe()).size == 3


async def test_a_set_goes_out_byte_for_byte_with_its_place_in_the_address() -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, request.headers["Content-Encoding"], await request.read()))
        return problem(Refused("behind", "x", members={"expected_seq": 1}))

    body = b"\x28\xb5\x2f\xfd" + bytes(3 * 1024 * 1024)
    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Refused) as caught:
            await link.push(7, body, 12)
    assert seen == [("PUT", "/v1/agencies/33.75/change-sets/7?from=12", "zstd", body)]
    assert (caught.value.kind, caught.value.members["expected_seq"]) == ("behind", 1)


async def test_what_is_not_public_is_signed_for_a_minute_and_a_changed_address_does_not_verify() -> None:
    outcomes: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        for url in (str(request.url), str(request.url.with_path("/v1/agencies/35.71/head"))):
            try:
                (result,) = _verify(request.method, url, dict(request.headers))
                outcomes.append(f"{result.parameters['tag']} {result.parameters['keyid']}")
                lifetime_s = result.parameters["expires"] - result.parameters["created"]
                assert lifetime_s <= 60
            except InvalidSignature:
                outcomes.append("invalid")
        return problem(Refused("not-found", "x"))

    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Refused):
            await link.head()
    assert outcomes == [f"simpul-1 {SIGNER.kid}", "invalid"]


async def test_what_changes_something_is_signed_with_its_body_and_a_nonce_of_its_own() -> None:
    nonces: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        body = await request.read()
        (result,) = _verify("POST", str(request.url), dict(request.headers), body)
        nonces.append(result.nonce)
        with pytest.raises(InvalidSignature):
            _verify("POST", str(request.url), dict(request.headers), body + b" ")
        return web.json_response({"size": 3, "wanted": None})

    request = RecoveryRequest(
        agency="33.75", checkpoint="c", receipts=[], statements=[], seqs=SeqRange(from_seq=1, to_seq=2)
    )
    async with serving(handler) as url, linked(url) as link:
        for _ in range(2):
            assert (await link.recover(request)).wanted is None
    assert len(set(nonces)) == 2


def _verify(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    key = Ed25519PublicKey.from_public_bytes(SIGNER.public_key)
    verifier = HTTPMessageVerifier(
        signature_algorithm=algorithms.ED25519,
        key_resolver=MappingKeyResolver(public_keys={SIGNER.kid: key}, private_keys={}),
    )
    message = SimpleNamespace(method=method, url=url, headers=headers)
    options: dict[str, Any] = {} if body is None else {"body": body}
    return verifier.verify(
        message,
        max_age=timedelta(seconds=60),
        expect_tag="simpul-1",
        require_components=("@method", "@target-uri"),
        **options,
    )


async def test_a_blip_is_tried_again_and_forgotten() -> None:
    count = iter(range(10))

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(HUB) if next(count) == 2 else problem(Unavailable("x"), **{"Retry-After": "1"})

    async with serving(handler) as url, linked(url) as link:
        assert (await link.describe()).size == 3


async def test_each_try_is_signed_anew_and_after_the_last_the_hubs_word_is_told() -> None:
    nonces: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        (result,) = _verify("POST", str(request.url), dict(request.headers), await request.read())
        nonces.append(result.nonce)
        return problem(Unavailable(f"no. {len(nonces)}"))

    request = RecoveryRequest(
        agency="33.75", checkpoint="c", receipts=[], statements=[], seqs=SeqRange(from_seq=1, to_seq=2)
    )
    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Unavailable, match=f"no. {BLIP_ATTEMPTS_MAX}"):
            await link.recover(request)
    assert len(set(nonces)) == len(nonces) == BLIP_ATTEMPTS_MAX


async def test_a_refusal_after_a_blip_is_told_and_not_tried_again() -> None:
    calls: list[int] = []

    async def handler(_: web.Request) -> web.Response:
        calls.append(1)
        return problem(Unavailable("x") if len(calls) == 1 else Refused("unknown-agency", "x"))

    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Refused):
            await link.head()
    assert len(calls) == 2


async def test_an_outage_ends_with_what_the_hub_wished_for() -> None:
    calls: list[int] = []

    async def handler(_: web.Request) -> web.Response:
        calls.append(1)
        return problem(Unavailable("x"), **{"Retry-After": "600"})

    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Unavailable) as caught:
            await link.describe()
    assert (len(calls), caught.value.retry_after_s) == (1, 600)


async def test_nobody_at_the_address_is_unreachable_after_a_few_tries() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(HUB)

    async with serving(handler) as url:
        pass
    async with linked(url) as link:
        with pytest.raises(Unreachable):
            await link.describe()


async def test_a_hub_that_lost_something_is_told_apart_at_once() -> None:
    calls: list[int] = []

    async def handler(_: web.Request) -> web.Response:
        calls.append(1)
        return problem(Recovering("x", size=17))

    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Recovering) as caught:
            await link.head()
    assert (caught.value.size, len(calls)) == (17, 1)


NOT_THE_HUB: dict[str, Callable[[], web.StreamResponse]] = {
    "a login page": lambda: web.Response(text="<html>Wi-Fi login</html>", content_type="text/html"),
    "a proxy's error": lambda: web.Response(text="<html>Bad gateway</html>", status=502, content_type="text/html"),
    "a proxy's 404": lambda: web.Response(text="nothing", status=404),
    "a redirect": lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}),
    "an empty body": lambda: web.Response(body=b""),
    "JSON of another kind": lambda: web.json_response([1, 2, 3]),
    "duplicate members": lambda: web.Response(body=b'{"size":1,"size":2}', content_type="application/json"),
    "a wrong type": lambda: web.json_response({**HUB, "size": "3"}),
    "not UTF-8": lambda: web.Response(body=b'{"origin":"\xff"}', content_type="application/json"),
    "a problem nobody knows": lambda: web.Response(
        body=b'{"type":"about:blank","detail":"x"}', status=409, content_type="application/problem+json"
    ),
}


@pytest.mark.parametrize("name", NOT_THE_HUB)
async def test_what_is_not_the_hubs_word_is_unavailable_never_refused(name: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return NOT_THE_HUB[name]()

    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Unavailable):
            await link.describe()


async def test_an_endless_answer_is_cut_off() -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while sent < 200 * 1024 * 1024:
                await response.write(b" " * 65_536)
                sent += 65_536
        except ConnectionError:
            pass
        return response

    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Unreachable, match="larger than any"):
            await link.describe()
    assert sent < BLIP_ATTEMPTS_MAX * 32 * 1024 * 1024


async def test_a_connection_cut_in_mid_answer_is_unreachable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"origin":')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(handler) as url, linked(url) as link:
        with pytest.raises(Unreachable):
            await link.describe()


async def test_a_slow_line_that_keeps_coming_is_not_given_up() -> None:
    """Both ways take longer than a silence may last: 0.3 s here."""
    arrived = b""

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal arrived
        while piece := await request.content.read(1024):
            arrived += piece
            await asyncio.sleep(0.12)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        body = format_body(ENTERED)
        for place in range(0, len(body), len(body) // 5):
            await response.write(body[place : place + len(body) // 5])
            await asyncio.sleep(0.1)
        return response

    async with serving(handler) as url, linked(url, answer_timeout_s=0.3) as link:
        await link.push(1, b"x" * 8_192, 0)
    assert arrived == b"x" * 8_192


async def test_a_hub_that_does_not_answer_in_time_is_unreachable() -> None:
    is_over = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await is_over.wait()
        return web.json_response(HUB)

    async with serving(handler) as url, linked(url, answer_timeout_s=0.05) as link:
        try:
            with pytest.raises(Unreachable, match="too long"):
                await link.describe()
        finally:
            is_over.set()  # the server waits for its handlers when it ends


async def test_a_hub_outside_is_reached_by_the_proxy_and_one_on_this_machine_never() -> None:
    asked: list[tuple[str, str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.raw_path, request.headers["Host"], request.headers.get("Proxy-Authorization")))
        return web.json_response(HUB)

    async with serving(handler) as url:
        proxies = {"http": url.replace("//", "//user:word@")}
        async with linked("http://hub.example/simpul", allow_plain_http=True, proxies=proxies) as link:
            await link.describe()
        async with linked(url, proxies={"http": "http://127.0.0.1:9"}) as link:
            await link.describe()
    assert asked == [
        ("http://hub.example/simpul/v1/hub", "hub.example", "Basic dXNlcjp3b3Jk"),
        ("/v1/hub", url.removeprefix("http://"), None),
    ]


def test_a_proxy_is_for_its_scheme_and_one_behind_tls_is_not_used() -> None:
    proxies = {"http": "http://plain.example:3128", "https": "https://tls.example"}
    assert proxy_for(URL("http://hub.example"), proxies) == URL("http://plain.example:3128")
    assert proxy_for(URL("https://hub.example"), proxies) is None
    assert proxy_for(URL("https://hub.example"), {"http": "http://plain.example"}) is None


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://hub.example", True),
        ("https://hub.example/simpul", True),
        ("http://127.0.0.1:8700", True),
        ("http://[::1]:8700", True),
        ("http://localhost:8700", True),
        ("http://hub.example", False),
        ("http://10.0.0.7", False),
        ("http://localhost.example", False),
        ("ftp://hub.example", False),
        ("https://user@hub.example", False),
        ("https://hub.example/?a=b", False),
        ("hub.example", False),
        ("https://", False),
        ("", False),
    ],
)
def test_only_loopback_is_spoken_to_in_the_clear(address: str, allowed: bool) -> None:
    if allowed:
        check_base_url(address, allow_plain_http=False)
        return
    with pytest.raises(Refused) as caught:
        check_base_url(address, allow_plain_http=False)
    assert caught.value.kind == "configuration"


def test_a_setting_allows_plain_http_elsewhere() -> None:
    check_base_url("http://hub.example", allow_plain_http=True)


async def test_a_certificate_of_nobody_we_trust_is_unreachable(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(HUB)

    app = web.Application()
    app.router.add_get("/v1/hub", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    async with linked(url) as link:
        with pytest.raises(Unreachable):
            await link.describe()
    async with linked(url, ca_file=certificate) as link:
        assert (await link.describe()).size == 3
    await runner.cleanup()


def test_a_ca_file_that_is_none_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(Refused, match="cannot be used"):
            Transport("https://hub.example", clock=NowClock(), randomness=SystemRandomness(), ca_file=path)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A fresh self-signed certificate for 127.0.0.1 and its key."""
    from datetime import UTC, datetime
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return paths
