"""Wiring: the only room that constructs. It reads settings, makes keys, stores, links and services, and hands them on.

One module a role, so that a command loads only what it needs.
"""
