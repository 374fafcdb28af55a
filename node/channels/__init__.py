"""Channels: each takes in messages of one kind and ends in `LocalService.record`. Parsing is pure; only HTTP is not."""
