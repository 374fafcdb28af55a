"""Writes the vectors of keys, signatures, notes, receipts, proofs and tiles: `python -m tests.vectors.make_log`."""

from __future__ import annotations

from tests.vectors.log_notes import note_vectors
from tests.vectors.log_trees import tree_vectors
from tests.vectors.vector_files import Vector, save

SUBJECTS = ("keys", "signatures", "notes", "checkpoints", "receipts", "proofs", "tiles")


def all_vectors() -> list[Vector]:
    """Every case, made afresh."""
    return [*note_vectors(), *tree_vectors()]


if __name__ == "__main__":
    save(all_vectors())
