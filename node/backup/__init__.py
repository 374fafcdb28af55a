"""Backup and restore of one directory: an archive, what is copied into it, and what is verified before it is used."""
