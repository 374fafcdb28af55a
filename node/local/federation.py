"""What a node knows of the federation beyond itself: the rules in force, which agencies there are, and who is silent.

Only for the first judgement of what is recorded here; the log judges again, by what holds at its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from node.local.hub_evidence import roster_of
from node.local.ports import DeskLink, InboxLink, LocalStore
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.limits import INTEGER_MAX

_FIRST_LIMIT: Final = 1


class Federation:
    """Of one process. Before anything is known, nobody is the desk and every agency is taken for one."""

    def __init__(self) -> None:
        self.desk = ""
        self.bounce_limit = _FIRST_LIMIT
        self._agencies: frozenset[str] | None = None
        self._silent: frozenset[str] | None = None

    @property
    def knows_silence(self) -> bool:
        """Whether the hub has ever said who is silent."""
        return self._silent is not None

    def is_agency(self, agency: str) -> bool:
        """Whether a complaint may be offered there, as far as is known."""
        return self._agencies is None or agency in self._agencies

    def learn(self, agencies: Collection[str]) -> None:
        """All that are enrolled."""
        self._agencies = frozenset(agencies)

    def is_silent(self, agency: str) -> bool:
        """Whether the desk may recall what it owns, as the hub said last; nobody, before it said anything."""
        return self._silent is not None and agency in self._silent

    def learn_silent(self, agencies: Collection[str]) -> None:
        """All that are silent, by the rules."""
        self._silent = frozenset(agencies)

    async def read_rules(self, store: LocalStore) -> bool:
        """From the statements that are held; whether there were any."""
        try:
            rules = roster_of(await store.statements()).rules_at(INTEGER_MAX)
        except Refused:
            return False
        if rules is None:
            return False
        self.desk, self.bounce_limit = str(rules.desk), rules.bounce_limit
        return True

    async def look_up_silence(self, link: DeskLink) -> None:
        """Asks the hub who is silent. Raises as the link."""
        self.learn_silent(await link.silent())

    async def look_up(self, agency: str, link: InboxLink, within_s: float) -> None:
        """Asks the hub once more before an agency is called unknown; while it is away, or silent for `within_s`
        seconds, the log will judge.
        """
        if self.is_agency(agency) and self._agencies is not None:
            return
        try:
            async with asyncio.timeout(within_s):
                self.learn(await link.agencies())
        except (Unavailable, Refused, TimeoutError):
            if self._agencies is not None:
                self._agencies |= {agency}  # until the hub says again who is enrolled
