"""The files that simpul.toml names: no backup brings them, and a directory that lacks one of them does not start."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from node.channels.connector.settings import TABLE_MAX_BYTES, read_connectors, read_secret
from node.doctor.findings import Finding, Words, does_not_open, ok
from node.settings import HubSettings, NodeSettings
from sync_protocol.errors import Refused

Settings = HubSettings | NodeSettings

CONNECTORS: Final = "connectors_file"
_PUT_BACK: Final = (
    "Put back what simpul.toml names and no backup brings, or take the settings out: {names}; of connectors_file also"
    " the secrets that it names. Without them it does not start; `simpul {kind} doctor {folder}` says what is missing."
)


class NamedFile(NamedTuple):
    """`setting` is the one that names it; a secret of a connector is of that table's setting."""

    setting: str
    path: Path


def named_files(settings: Settings) -> list[NamedFile]:
    """Every file outside of a backup that the settings name, there or not. Waits for the disk."""
    found = []
    for name, field in type(settings).model_fields.items():
        path = getattr(settings, name)
        if field.annotation == (Path | None) and path is not None:
            found.append(NamedFile(name, settings.file(path)))
            if name == CONNECTORS:
                found += [NamedFile(name, secret) for secret in _secrets_of(settings.file(path))]
    return found


def _secrets_of(table: Path) -> list[Path]:
    """Those that a table of connectors names; none where it cannot be read, which the doctor tells."""
    try:
        with table.open("rb") as file:
            entries = tomllib.loads(file.read(TABLE_MAX_BYTES).decode("utf-8"))["connector"]
        return [table.parent / str(entry["secret_file"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def left_out(settings: Settings) -> list[dict[str, str]]:
    """What a backup's document says of them."""
    return [{"setting": one.setting, "path": str(one.path)} for one in named_files(settings)]


def steps_for_missing(settings: Settings) -> list[str]:
    """What has to be put back by hand before a restored directory starts; nothing where all is there."""
    lost = [f"{one.path} ({one.setting})" for one in named_files(settings) if not one.path.is_file()]
    return [_PUT_BACK.format(names=", ".join(lost), kind=settings.role, folder=settings.directory)] if lost else []


def check_channels(settings: Settings) -> list[Finding]:
    """A finding for each channel that is turned on: its files are there and say what they must, or it does not start.

    Waits for the disk.
    """
    checks: list[tuple[str, Path | None, Callable[[Path], object]]] = []
    if isinstance(settings, NodeSettings):
        mentions = settings.mentions_token_file if settings.mentions_user_id is not None else None
        answers = settings.sms_send_password_file if settings.sms_send_url is not None else None
        checks = [
            ("connectors", settings.connectors_file, read_connectors),
            ("mentions", mentions, read_secret),
            ("sms", answers, read_secret),
        ]
    checks.append(("open311", settings.open311_services, _read_services))
    return [_check(name, settings.file(path), load) for name, path, load in checks if path is not None]


def _check(name: str, path: Path, load: Callable[[Path], object]) -> Finding:
    try:
        load(path)
    except (Refused, OSError) as error:
        words = error.detail if isinstance(error, Refused) else str(error)
        return does_not_open(name, Words(f"the channel {name}", f"kanal {name}"), error, words)
    return ok(name, Words(f"{path} can be used", f"{path} dapat dipakai"))


def _read_services(path: Path) -> None:
    from node.wiring.open311 import service_table  # of those alone that turned it on

    service_table(path)
