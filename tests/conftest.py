"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# No deadline for one example: machines are shared, and a slow moment is no defect. A failure prints how to repeat it.
settings.register_profile("simpul", deadline=None, print_blob=True)
settings.load_profile("simpul")
