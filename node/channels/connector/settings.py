"""Which other systems are connected: `connectors.toml`, one [[connector]] for each."""

from __future__ import annotations

import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from node.channels import mentions
from node.channels.connector.signature import SECRET_MIN_BYTES
from node.channels.open311.node_intake import CHANNEL as OPEN311
from node.local.importers import sp4n_words
from sync_protocol.errors import Refused
from sync_protocol.values import parse_code

TABLE_MAX_BYTES: Final = 65_536  # some hundred systems
SECRET_MAX_BYTES: Final = 1_024  # a secret, not a file given by mistake
#: What complaints of other channels name as their system, or what is kept under such a name: of mentions, exports of
#: SP4N-LAPOR!, SMS (sms.py), sheets from events (config/csv-map-outreach.toml), and clients of Open311.
TAKEN: Final = frozenset({mentions.SYSTEM, mentions.MARK, sp4n_words.SYSTEM, "sms", "outreach", OPEN311})
_MEMBERS: Final = {"system", "secret_file", "webhook_url"}
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Connector:
    """One system: its code (the `system` of a complaint's source), the shared secret, and where it wants to be told."""

    system: str
    secret: bytes = field(repr=False)
    webhook_url: str | None


def read_connectors(path: Path) -> list[Connector]:
    """From a file; secrets lie in files of their own, beside it unless their path is absolute.

    Raises Refused(configuration), and unsafe-key-file for a secret that others may read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(TABLE_MAX_BYTES + 1)
        entries = tomllib.loads(data.decode("utf-8"))["connector"]
        connectors = [_connector(entry, path.parent) for entry in entries]
    except OSError as error:
        _wrong(path, str(error.strerror))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        _wrong(path, str(error))
    if len({one.system for one in connectors}) < len(connectors):
        _wrong(path, "two connectors of one system")
    return connectors


def _connector(entry: dict[str, Any], folder: Path) -> Connector:
    unknown = set(entry) - _MEMBERS
    if unknown:
        raise ValueError(f"there is no setting {min(unknown)!r}")
    url = entry.get("webhook_url")
    if url is not None:
        parts = urlsplit(str(url))
        if not parts.hostname or not (parts.scheme == "https" or parts.hostname in _LOOPBACK):
            raise ValueError("webhook_url is an https address")
    try:
        system = parse_code(str(entry["system"]), "system")
    except Refused as refused:
        raise ValueError(f"system: {refused.detail}") from None
    if system in TAKEN or system.startswith(f"{OPEN311}-"):
        raise ValueError(f"system: {system!r} is what complaints of another channel name; take another")
    return Connector(system, _secret(folder / str(entry["secret_file"])), None if url is None else str(url))


def read_secret(path: Path) -> bytes:
    """What a file holds that nobody else may read, without blanks at its ends.

    Raises Refused: unsafe-key-file, configuration.
    """
    try:
        mode = path.stat().st_mode
        if not mode & 0o077:
            with path.open("rb") as file:
                return file.read(SECRET_MAX_BYTES).strip()
    except OSError as error:
        _wrong(path, str(error.strerror))
    detail = f"others may read the secret {path} (mode {stat.S_IMODE(mode):04o})"
    raise Refused("unsafe-key-file", detail, members={"next": f"chmod 600 {path}"})


def _secret(path: Path) -> bytes:
    secret = read_secret(path)
    if len(secret) < SECRET_MIN_BYTES:
        raise ValueError(f"a secret has {SECRET_MIN_BYTES} bytes at least: openssl rand -hex 32 > {path}")
    return secret


def _wrong(path: Path, why: str) -> NoReturn:
    step = "Correct it by the example in config/connectors.example.toml."
    raise Refused("configuration", f"{path} cannot be used: {why}", members={"next": step}) from None
