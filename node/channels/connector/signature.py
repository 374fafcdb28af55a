"""How two systems that share a secret know each other's messages: HMAC-SHA-256 over time and body. Pure.

Header `Simpul-Signature: t=<seconds since 1970>,v1=<64 hexadecimal digits>`, over `<t>.<body>`. Several `v1` may stand
there while a secret is being changed. Blanks around the commas mean nothing.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

from sync_protocol.errors import Refused

HEADER: Final = "Simpul-Signature"
AGE_MAX_S: Final = 300  # clocks that are five minutes apart are set first
SECRET_MIN_BYTES: Final = 32  # as long as what HMAC-SHA-256 gives
HEADER_MAX: Final = 512  # four signatures have 350 characters
WRONG: Final = "wrong-signature"
EXPIRED: Final = "expired-signature"
_BLANKS: Final = re.compile(r"[ \t]*,[ \t]*")  # as many write a list in a header
_FORM: Final = re.compile(r"t=(0|[1-9][0-9]{0,11})((?:,v1=[0-9a-f]{64}){1,4})")


def sign(secret: bytes, body: bytes, now_s: int) -> str:
    """The header's value."""
    return f"t={now_s},v1={_mac(secret, body, now_s)}"


def verify(secret: bytes, header: str | None, body: bytes, now_s: int) -> None:
    """That whoever has the secret signed this body within the last five minutes.

    Raises Refused: wrong-signature (none, ill-formed, of another body or by another secret), expired-signature.
    """
    given = header or ""
    found = _FORM.fullmatch(_BLANKS.sub(",", given.strip(" \t"))) if len(given) <= HEADER_MAX else None
    if found is None:
        raise Refused(WRONG, f"wants {HEADER}: t=<seconds>,v1=<HMAC-SHA-256 of t.body, hexadecimal>", where=HEADER)
    at_s = int(found[1])
    wanted = _mac(secret, body, at_s)
    if not any(hmac.compare_digest(wanted, one) for one in found[2].split(",v1=")[1:]):
        raise Refused(WRONG, "this signature is not of this body, or not by this secret", where=HEADER)
    if abs(now_s - at_s) > AGE_MAX_S:
        raise Refused(EXPIRED, "this was signed too long ago, or in the future: sign it anew", where=HEADER)


def _mac(secret: bytes, body: bytes, at_s: int) -> str:
    return hmac.new(secret, b"%d.%b" % (at_s, body), "sha256").hexdigest()
