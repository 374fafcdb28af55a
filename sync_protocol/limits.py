"""Every limit of the protocol with its reason (protocol §11)."""

from __future__ import annotations

from typing import Final

AGENCY_ID_MAX: Final = 64  # a path segment and a file name everywhere
CODE_MAX: Final = 40  # the longest code of a real export is under 30 characters
SOURCE_ID_MAX: Final = 40  # old systems' numbers; a UUID with prefix still fits
CHANGE_LINE_MAX_BYTES: Final = 2_048  # codes only: the longest legal line is under 1.5 KiB
CONTENT_LINE_MAX_BYTES: Final = 32_768  # a long letter; files travel apart
SET_MAX_LEAVES: Final = 20_000  # with SET_MAX_BYTES bounds the memory of one request
SET_MAX_BYTES: Final = 16 * 1024 * 1024  # decompressed
WIRE_MAX_BYTES: Final = 16 * 1024 * 1024  # as received; compression never needs more
JWS_MAX_BYTES: Final = 4_096  # manifest and statement: 256 log entries stay under 1 MiB
FORK_JWS_MAX_BYTES: Final = 16_384  # carries two manifests and their base64
LOG_ENTRY_MAX_BYTES: Final = 65_535  # a u16 length prefix in C2SP entry bundles
JSON_DEPTH_MAX: Final = 4  # nothing legal nests deeper
JSON_VALUES_MAX: Final = 100_000  # a page of 20,000 refused changes has 80,000; a million `{}` are 70 MiB
EPOCH_STEP_MAX: Final = 2**32  # a node raises by 2**20 at most; a stolen key must not use up all epochs in one set
INTEGER_MAX: Final = 2**53 - 1  # what every JSON reader keeps exactly
COMPLAINT_CHANGES_MAX: Final = 4_096  # the history of one complaint stays one page of memory
NOTE_MAX_BYTES: Final = 65_536  # room for 16 post-quantum cosignatures of witnesses
NOTE_SIGNATURES_MAX: Final = 64  # verifiers must take at least 16
PROOF_HASHES_MAX: Final = 64  # a tree of 2**63 leaves needs 63
FILE_PIECE_MAX_BYTES: Final = 262_144  # of a file in one request: on the slowest line within its signature's life
LINE_SLOWEST_BYTES_S: Final = 4_096  # a mobile line at its worst; neither side gives up on one that keeps this pace
REQUEST_LIFETIME_MAX_S: Final = 60  # RFC 9421 `expires` after `created`
#: Tolerated between node and hub on signed requests: an office machine without a time server drifts by seconds a week,
#: and somebody who repeats a read within two minutes learns nothing that he did not see go by.
CLOCK_SKEW_MAX_S: Final = 60
