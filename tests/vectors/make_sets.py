"""Writes the vectors of JWS and change sets: `python -m tests.vectors.make_sets`."""

from __future__ import annotations

from tests.vectors.change_sets import change_set_vectors
from tests.vectors.signed_documents import jws_vectors
from tests.vectors.vector_files import Vector, save

SUBJECTS = ("jws", "change-sets")


def all_vectors() -> list[Vector]:
    """Every case, made afresh."""
    return [*jws_vectors(), *change_set_vectors()]


if __name__ == "__main__":
    save(all_vectors())
