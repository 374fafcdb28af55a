"""Channels: ways in which complaints come to a node and answers go out, one module or package for each."""
