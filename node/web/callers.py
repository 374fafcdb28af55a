"""Whose address a request comes from, also behind a proxy that says so; the one place that decides it.

Nobody but a trusted proxy is believed: anybody may write an X-Forwarded-For.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp import web

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: The proxies of an application, set before it runs. Without it nobody is believed.
TRUSTED_PROXIES: Final = web.AppKey("trusted_proxies", tuple)
FORWARDED: Final = "X-Forwarded-For"
ADDRESS_MAX: Final = 45  # of an IPv6 address that ends like one of IPv4; longer words are none
HOPS_MAX: Final = 16  # proxies one behind the other; a longer way is nobody's


def address_of(request: web.Request) -> str | None:
    """The caller's address, wherever one counts; None where the connection has none. Never raises."""
    trusted: tuple[Network, ...] = request.app.get(TRUSTED_PROXIES, ())
    return caller_address(request.remote, request.headers.getall(FORWARDED, ()), trusted)


def caller_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """The last address of `forwarded` that is no trusted proxy's, if the peer is one; else the peer's own.

    What stands before that address was written by strangers and is not looked at. Where the last words are no
    addresses, or all are proxies, it is the peer. Never raises.
    """
    if not forwarded or not is_within(peer, trusted):
        return peer
    for word in reversed(",".join(forwarded).rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
        address = _parsed(word.strip(" \t"))
        if address is None:
            return peer
        if not any(address in network for network in trusted):
            return str(address)
    return peer


def is_within(address: str | None, networks: Sequence[Network]) -> bool:
    """Whether it is an address in one of them; one of IPv4 in the clothes of IPv6 is one of IPv4. Never raises."""
    parsed = _parsed(address or "")
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(text: str) -> Address | None:
    if len(text) > ADDRESS_MAX:
        return None
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
