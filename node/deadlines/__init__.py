"""What is due on a complaint, when, and whether it was done in time (docs/deadlines.md)."""
