"""The local node: it owns its complaints, records changes, pushes them."""
