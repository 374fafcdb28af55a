"""Everything that touches the world: command line, services, stores, links (ARCHITECTURE.md)."""
