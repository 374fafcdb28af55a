"""Writes docs/lifecycle.md again: `python -m tests.protocol.write_lifecycle`."""

from pathlib import Path
from typing import Final

from sync_protocol.lifecycle import lifecycle_page

PAGE: Final = Path(__file__).parents[2] / "docs" / "lifecycle.md"

if __name__ == "__main__":
    PAGE.write_text(lifecycle_page(), encoding="utf-8")
