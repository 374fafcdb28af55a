"""Wiring of `simpul keys`: the same words for a node's and a hub's directory; simpul.toml says which it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keys.key_directory import HUB_ROLES, NODE_ROLES, KeyDirectory
from keys.signer import Ed25519Signer
from node.settings import HubSettings, NodeSettings
from node.settings_file import load_settings
from sync_protocol.errors import Refused
from sync_protocol.statement import Role
from sync_protocol.values import b64u_encode


async def show_keys(directory: Path) -> dict[str, Any]:
    """`simpul keys show`: public halves only."""
    settings = load_settings(directory)
    roles = HUB_ROLES if isinstance(settings, HubSettings) else NODE_ROLES
    held = KeyDirectory(settings.keys_directory, settings.passphrase())
    shown = []
    for role in roles:
        if not held.has(role):
            continue
        key = held.load(role)
        kid = key.kid if isinstance(key, Ed25519Signer) else None
        shown.append({"role": role.value, "kid": kid, "public_key": b64u_encode(key.public_key)})
    return {"directory": str(directory), "keys": shown}


async def rotate_key(directory: Path, *, role: str) -> dict[str, Any]:
    """`simpul keys rotate`: the agency's key in a node's directory, registrar or log key in a hub's."""
    settings = load_settings(directory)
    if isinstance(settings, NodeSettings):
        from node.wiring.node_keys import rotate_node_key

        return await rotate_node_key(directory, _role(role or Role.AGENCY, NODE_ROLES))
    from node.wiring.hub import rotate_hub_key

    return await rotate_hub_key(directory, _role(role or Role.REGISTRAR, HUB_ROLES))


async def revoke_own_key(directory: Path, *, reason: str, disputed_from: int) -> dict[str, Any]:
    """`simpul keys revoke` in a node's directory."""
    load_settings(directory, NodeSettings)
    from node.wiring.node_keys import revoke_node_key

    return await revoke_node_key(directory, reason=reason, disputed_from=disputed_from)


def _role(text: str, allowed: tuple[Role, ...]) -> Role:
    if text not in allowed:
        step = f"Use one of: {', '.join(role.value for role in allowed)}."
        raise Refused("configuration", f"there is no key {text!r} in this directory", members={"next": step})
    return Role(text)
