"""What a serving process tells its allocator: freed memory is used again instead of being fetched anew."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from node.memory import settle_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

settle_memory()
settle_memory()
for _ in range(3):
    held = [bytes(900_000) + b"x" for _ in range(20)]
before = faults()
for _ in range(20):
    del held
    held = [bytes(900_000) + b"x" for _ in range(20)]
print((faults() - before) // 20)
"""


def test_blocks_of_the_size_of_a_set_come_from_memory_that_is_there() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 500  # a round of 18 MB is 4,400 pages
