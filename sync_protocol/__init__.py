"""Pure rules of the protocol: no I/O, no clock, no randomness (docs/protocol.md)."""
