"""Keys of complaints: one spelling, and nothing lost on the way there and back."""

from __future__ import annotations

from node.store.complaint_keys import complaint_key, complaint_keys, complaint_of
from sync_protocol.values import make_uuid7

NAMES = [f"{agency}:{make_uuid7(number, number * 77_777)}" for agency in ("33.75", "panrb") for number in range(20)]


def test_many_keys_are_the_keys_of_each_and_lead_back() -> None:
    keys = complaint_keys(NAMES)
    assert keys == {name: complaint_key(name) for name in NAMES}
    assert [complaint_of(key) for key in keys.values()] == NAMES
    assert complaint_keys([]) == {}
