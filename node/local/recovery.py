"""`simpul node recover`: what an operator asks for after an old backup, or when one of two copies is to stay (§10.3).

Refilling itself is the pusher's own first step at every start. What only a person can decide is the take-over: the
other copy is switched off for good, and this one goes on. Then nothing that was signed here without a receipt keeps its
place, and a new epoch begins above everything that either copy has signed.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.local.hub_session import HubSession
from node.local.ports import LocalStore
from node.local.pusher import Pusher
from node.local.status import AsideLine, aside_lines, aside_words
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.halts import HaltReason

#: What an operator's take-over may clear; the other halts need something else first (see their next steps).
CLEARED_BY_TAKE_OVER = frozenset({HaltReason.COPY_ALIVE, HaltReason.FORKED})


@dataclass(frozen=True, slots=True)
class Recovered:
    """Counts are sets and changes; `explanation` is for a person. `aside` names what was set aside, not its words."""

    adopted_sets: int
    unsent: int
    set_aside: int
    aside: list[AsideLine]
    epoch: int
    explanation: str


async def recover_node(
    store: LocalStore, pusher: Pusher, hub: HubSession, *, take_over: bool, timeout_s: float
) -> Recovered:
    """Compare with the hub, adopt what is missing here, push what is unsent.

    Raises Refused(halted) while halted for something that this does not clear, Unavailable if the hub is away.
    """
    before = await store.outbox()
    if before.halt is not None:
        if not (take_over and before.halt.reason in CLEARED_BY_TAKE_OVER):
            detail = f"halted ({before.halt.reason.value}): {before.halt.detail}"
            raise Refused("halted", detail, members={"next": before.halt.next_step})
        await take_over_chain(store, hub)
    drained = await pusher.drain(timeout_s)
    after = await store.outbox()
    if after.halt is not None:
        detail = f"halted ({after.halt.reason.value}): {after.halt.detail}"
        raise Refused("halted", detail, members={"next": after.halt.next_step})
    if not drained.reached:
        raise Unavailable("the hub did not answer: nothing was changed here; try again when it is back")
    adopted = pusher.adopted_sets
    aside = aside_lines(await store.set_aside())
    explanation = _explain(adopted, after.unsent, aside, after.epoch)
    return Recovered(adopted, after.unsent, len(aside), aside, after.epoch, explanation)


async def take_over_chain(store: LocalStore, hub: HubSession) -> None:
    """This copy is the only one from now on. A crash in between leaves the halt: run it again.

    The epoch is raised before the halt is cleared, so that nothing can be signed in an epoch that the other copy used.
    """
    head = await hub.head()
    view = await store.outbox()
    async with store.transaction() as transaction:
        await transaction.withdraw_sets(view.acknowledged_seq + 1)
        await transaction.set_epoch(max(view.epoch, head.epoch) + 1)
    await store.clear_halt()


def _explain(adopted: int, unsent: int, aside: list[AsideLine], epoch: int) -> str:
    words = [f"This node and the hub are in step (epoch {epoch})."]
    words.append(f"{adopted} change set(s) were fetched from the hub." if adopted else "Nothing was missing here.")
    if unsent:
        words.append(f"{unsent} change(s) are still to be sent.")
    if aside:
        words.append(aside_words(aside))
    return " ".join(words)
