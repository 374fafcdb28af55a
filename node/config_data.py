"""Where the data of `config/` lies: in a checkout beside the packages, in an installed wheel inside `node/`."""

from __future__ import annotations

from pathlib import Path

from sync_protocol.errors import Refused

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "_config", _PACKAGE.parent / "config")  # the wheel's first: there, `config` is a stranger's name


def config_file(name: str) -> Path:
    """The file of that name under `config/`. Raises Refused(configuration) if the installation lacks it."""
    for place in _PLACES:
        path = place / name
        if path.is_file() and path.resolve().is_relative_to(place):
            return path
    raise Refused(
        "configuration",
        f"the data file {name} is not part of this installation",
        members={"next": "Install Simpul again; its wheel carries the config folder."},
    )
