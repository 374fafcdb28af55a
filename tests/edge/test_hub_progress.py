"""Long work of a hub's commands says how far it came: counted in leaves, and in the end all of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from node.hub.export import export_log
from tests.edge.hub_lab import running_hub


async def test_export_and_rebuild_count_to_the_end_of_the_log(tmp_path: Path) -> None:
    exported: list[tuple[int, int]] = []
    folded: list[tuple[int, int]] = []
    async with running_hub(tmp_path, projector=False) as lab:
        for code in ("33.75", "35.71"):
            agency = await lab.enrol(code)
            for _ in range(3):
                await agency.push_new([agency.received(agency.complaint())])
        size, note = lab.hub.log.published.size, lab.hub.log.published.note
        await export_log(
            lab.hub.store,
            size=size,
            note=note,
            description={},
            out=tmp_path / "export",
            with_content=False,
            progress=lambda done, total: exported.append((done, total)),
        )
        await lab.hub.rebuild(lambda done, total: folded.append((done, total)))
    for told in (exported, folded):
        assert told[-1] == (size, size)
        assert {total for _, total in told} == {size}
    assert all(before <= after for (before, _), (after, _) in pairwise(exported))
    assert len(exported) > 2
