"""Key directories in memory (keys/key_directory.py), with a step boundary at each file that is written or renamed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from keys.key_directory import KeyDirectory
from keys.signer import Ed25519Signer, PrivateKey, SealingKey
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused
from sync_protocol.statement import Role
from tests.sim.disk import Mount


@dataclass
class KeyState:
    """The files by role: in use, to follow, of before."""

    current: dict[Role, PrivateKey] = field(default_factory=dict)
    pending: dict[Role, PrivateKey] = field(default_factory=dict)
    before: dict[Role, tuple[PrivateKey, ...]] = field(default_factory=dict)

    def copy(self) -> KeyState:
        return KeyState(dict(self.current), dict(self.pending), dict(self.before))


class MemoryKeys(KeyDirectory):
    """See KeyDirectory."""

    def __init__(self, mount: Mount[KeyState]) -> None:
        super().__init__(Path("keys"))
        self._mount = mount

    @property
    def _state(self) -> KeyState:
        self._mount.process.check()
        return self._mount.disk.state

    def has(self, role: Role) -> bool:
        return role in self._state.current

    def create(self, role: Role, random32: bytes) -> PrivateKey:
        state = self._state.copy()
        assert role not in state.current
        key = state.current[role] = _make(role, random32)
        self._mount.commit(f"create {role}", state)
        return key

    def load(self, role: Role) -> PrivateKey:
        key = self._state.current.get(role)
        if key is None:
            raise Refused("configuration", f"there is no {role} key")
        return key

    def pending(self, role: Role) -> PrivateKey | None:
        return self._state.pending.get(role)

    def prepare_next(self, role: Role, random32: bytes) -> PrivateKey:
        self.load(role)
        waiting = self.pending(role)
        if waiting is not None:
            return waiting
        state = self._state.copy()
        key = state.pending[role] = _make(role, random32)
        self._mount.commit(f"prepare {role}", state)
        return key

    def promote(self, role: Role, public_key: bytes) -> PrivateKey:
        waiting, current = self.pending(role), self.load(role)
        if current.public_key == public_key:
            return current
        if waiting is None or waiting.public_key != public_key:
            raise Refused("configuration", f"the {role} key that the hub confirmed is not the one waiting")
        self._keep(role, current)
        state = self._state.copy()
        state.current[role] = state.pending.pop(role)
        self._mount.commit(f"promote {role}", state)
        return waiting

    def discard_pending(self, role: Role) -> None:
        state = self._state.copy()
        state.pending.pop(role, None)
        self._mount.commit(f"discard {role}", state)

    def retire(self, role: Role) -> None:
        self._keep(role, self.load(role))
        state = self._state.copy()
        del state.current[role]
        self._mount.commit(f"retire {role}", state)

    def history(self, role: Role) -> list[PrivateKey]:
        return list(self._state.before.get(role, ()))

    def _keep(self, role: Role, key: PrivateKey) -> None:
        kept = self._state.before.get(role, ())
        if all(one.public_key != key.public_key for one in kept):
            state = self._state.copy()
            state.before[role] = (*kept, key)
            self._mount.commit(f"keep {role}", state)


class MemorySigningKeys:
    """See SigningKeys (node/local/hub_ports.py)."""

    def __init__(self, directory: MemoryKeys) -> None:
        self._directory = directory

    def current(self) -> Signer:
        return self._directory.signer(Role.AGENCY)

    def pending(self) -> Signer | None:
        key = self._directory.pending(Role.AGENCY)
        assert key is None or isinstance(key, Ed25519Signer)
        return key

    def promote(self, public_key: bytes) -> Signer:
        self._directory.promote(Role.AGENCY, public_key)
        return self.current()

    def discard_pending(self) -> None:
        self._directory.discard_pending(Role.AGENCY)

    def kids(self) -> set[str]:
        before = self._directory.history(Role.AGENCY)
        return {self.current().kid} | {key.kid for key in before if isinstance(key, Ed25519Signer)}


def _make(role: Role, random32: bytes) -> PrivateKey:
    return SealingKey.generate(random32) if role is Role.SEALING else Ed25519Signer.generate(random32)
