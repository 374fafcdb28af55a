"""Keys at rest and in use: creation, files, rotation, revocation. Code only; never a key."""
