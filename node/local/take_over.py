"""`simpul node recover --take-over`: an operator says that this copy is the only one from now on (protocol §10.3)."""

from __future__ import annotations

from node.local.ports import LocalStore


async def take_over(store: LocalStore) -> int:
    """Clears a halt, and takes sets that the hub never confirmed out of the chain; how many.

    Their changes are unsent again. The next start compares heads: what the hub has of us by then is adopted, and the
    epoch is raised above the other copy's, which stops that copy for good.
    """
    view = await store.outbox()
    async with store.transaction() as transaction:
        await transaction.set_epoch(view.epoch + 1)
        count = await transaction.withdraw_sets(view.acknowledged_seq + 1)
    await store.clear_halt()
    return count
