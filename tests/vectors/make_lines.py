"""Writes the vectors of lines and of the fold: `python -m tests.vectors.make_lines`."""

from __future__ import annotations

from tests.vectors.fold_cases import fold_vectors
from tests.vectors.line_cases import line_vectors
from tests.vectors.vector_files import Vector, save

SUBJECTS = ("lines", "fold")


def all_vectors() -> list[Vector]:
    """Every case, made afresh."""
    return [*line_vectors(), *fold_vectors()]


if __name__ == "__main__":
    save(all_vectors())
