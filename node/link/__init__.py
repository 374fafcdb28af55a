"""How a local node reaches the hub."""
