"""The local node's HTTP room: REST intake for desks and channels, health and metrics (docs/protocol.md §2, §9).

A handler reads, calls one function on bytes or values, and maps the outcome; what is a problem is said as RFC 9457.
"""
