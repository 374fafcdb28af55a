"""Keys: signers, their files, and what is signed when a key comes or goes. Code only; never a key (protocol §5)."""
