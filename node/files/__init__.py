"""Attachments: what a file is, what is taken out of it, and where it is kept outside of databases (protocol §13)."""
