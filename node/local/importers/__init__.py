"""Importers: an export of another system, row by row, into one honest `imported` change each (protocol §2.2).

They read a file lazily and record nothing: each row comes out as an `ImportedRow` or as a `RefusedRow` with its line
number. `detect.open_import` is the door; `node/local/import_service.py` records what comes out of it.
"""
