"""What the link to the hub raises beside Refused."""

from __future__ import annotations

from sync_protocol.errors import Unavailable


class Unreachable(Unavailable):
    """Nobody answered, or not the hub: name, route, TLS, timeout, a connection cut in the middle, a proxy's page."""
