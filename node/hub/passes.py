"""Passes: how a node shows cheaply that it is who it says, before the hub has seen any signature (protocol §7.4).

A pass is the hub's own word, sealed with a secret that all processes of the hub derive from the log's key: "this agency
proved itself a while ago". It opens nothing. It only tells in whose share a body is counted while it waits, so that
nobody can fill another's share by writing another's name into an address. Checking one costs two microseconds; checking
a signed request costs a millisecond, and a signed set has to be read first.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from node.ports import Clock
from sync_protocol.ed25519 import Signer
from sync_protocol.values import b64u_encode
from sync_protocol.wire import ADMISSION_PASS_MAX

PASS_LIFETIME_S: Final = 24 * 3600  # a node that heartbeats daily gets the next one in time
_CONTEXT: Final = (
    b"simpul admission pass 1"  # no note and no statement reads like this: the key seals nothing else by it
)


class Passes:
    """Issues and checks. `signer` is the key that speaks for the log; another one makes passes that nobody knows."""

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._secret = sha256(signer.sign(_CONTEXT)).digest()
        self._clock = clock

    def issue(self, agency: str) -> str:
        """For an agency that has just proved itself."""
        until_s = self._clock.now_ms() // 1000 + PASS_LIFETIME_S
        return f"{until_s}.{self._seal(agency, str(until_s))}"

    def holds(self, text: str | None, agency: str) -> bool:
        """Whether this is a pass of that agency, and not over. Whoever shows a bad one is a stranger, nothing worse."""
        if text is None or len(text) > ADMISSION_PASS_MAX or not text.isascii():
            return False
        until, _, seal = text.partition(".")
        if not until.isdigit() or not hmac.compare_digest(seal, self._seal(agency, until)):
            return False
        return int(until) > self._clock.now_ms() // 1000

    def _seal(self, agency: str, until: str) -> str:
        return b64u_encode(hmac.digest(self._secret, f"{agency} {until}".encode("ascii"), "sha256"))
