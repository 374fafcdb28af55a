"""Which files a hub has, in memory (node/hub/file_ports.py FileRegister)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from node.store.hub_records import NamedFile
from tests.sim.disk import Mount
from tests.sim.hub_state import HubState


class MemoryFiles:
    """A part of MemoryHubStore."""

    def __init__(self, mount: Mount[HubState]) -> None:
        self._mount = mount

    async def add_file(self, lines: Sequence[NamedFile]) -> bool:
        async with self._mount.writing("add file") as draft:
            left = [one for one in lines if one.leaf not in draft.erased.get(one.index, frozenset())]
            for one in left:
                draft.files.setdefault((one.index, one.leaf), one)
        return bool(left)

    async def lines_naming(self, file: bytes) -> list[NamedFile]:
        state = await self._mount.read()
        held = [state.files[place] for place in sorted(state.files) if state.files[place].file == file]
        return [named for named in held if not _is_erased(state, named)]

    async def file_bytes_of(self, agency: str) -> int:
        held = (await self._mount.read()).files.values()
        return sum({named.file: named.size for named in held if named.agency == agency}.values())

    async def files_to_erase(self, limit: int) -> list[NamedFile]:
        state = await self._mount.read()
        return [state.files[place] for place in sorted(state.files) if _is_erased(state, state.files[place])][:limit]

    async def forget_file(self, named: NamedFile) -> None:
        async with self._mount.writing("forget file") as draft:
            draft.files.pop((named.index, named.leaf), None)

    async def named_among(self, files: Collection[bytes]) -> set[bytes]:
        return {named.file for named in (await self._mount.read()).files.values()} & set(files)


def _is_erased(state: HubState, named: NamedFile) -> bool:
    return named.leaf in state.erased.get(named.index, frozenset())
