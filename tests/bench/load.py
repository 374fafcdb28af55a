"""Work for the benches: realistic lines made fast, and agencies whose sets are signed before the clock runs.

A change line and its content line are about 850 bytes together, as in a real export's row with a letter of 40 words.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from keys.signer import Ed25519Signer
from sync_protocol.change_set import build_change_set, draft_change_set
from sync_protocol.checkpoint import OpenCheckpoint
from sync_protocol.compression import compress_frames
from sync_protocol.line import content_mark, parse_change, parse_content
from sync_protocol.values import TRACKING_ALPHABET as LETTERS
from sync_protocol.values import (
    AgencyId,
    Digest,
    b64u_encode,
    format_timestamp,
    make_uuid7,
    tracking_check_character,
)

START_MS = 1_700_000_000_000
WORDS = (  # noqa: SIM905 - a sentence reads better than a list of its words
    "jalan rusak lampu padam warga sekitar merasa terganggu petugas belum datang meskipun sudah dihubungi antrean "
    "panjang informasi tidak jelas pelayanan lambat berbelit mohon ditindaklanjuti kondisi ini sudah berlangsung "
    "beberapa minggu kejadian berulang setiap hujan turun air keruh sampah menumpuk pasar becek saluran mampet rumah"
).split()
CATEGORIES = ("928", "929", "933", "936", "942", "950", "110", "674")
CLASSES = ("complaint_oversight", "complaint_ordinary", "information_request", "aspiration")
Pair = tuple[bytes, bytes]  # a change line and its content line


def received_pair(agency: str, number: int, chance: random.Random) -> Pair:
    """A `received` change line and its content line, for a new complaint."""
    at_ms = START_MS + number * 977
    change_id = make_uuid7(at_ms, chance.getrandbits(74))
    complaint = f"{agency}:{make_uuid7(at_ms, chance.getrandbits(74))}"
    at = format_timestamp(at_ms)
    letters = "".join(chance.choices(LETTERS, k=12))
    prefix, area = agency.replace(".", "").replace("-", "")[-6:].upper(), agency if agency[0].isdigit() else "31"
    check = tracking_check_character(prefix + letters)
    tracking = f"{prefix}-{letters[:4]}-{letters[4:8]}-{letters[8:]}-{check}"
    line = (
        f'{{"actor":{{"role":"officer","unit":"{131393 + number % 40}"}},"at":"{at}","complaint":"{complaint}",'
        f'"content":1,"data":{{"area":"{area}","category":"{CATEGORIES[number % 8]}","channel":"web",'
        f'"class":"{CLASSES[number % 4]}","received_at":"{at}","tracking":"{tracking}","visibility":"anonymous"}},'
        f'"id":"{change_id}","rev":1,"type":"received"}}'
    )
    text = " ".join(chance.choices(WORDS, k=46))
    salt = b64u_encode(chance.randbytes(16))
    content = (
        f'{{"of":"{content_mark(change_id)}","place":"Jalan {WORDS[number % 40]} {number % 200}","salt":"{salt}",'
        f'"text":"{text}","title":"Laporan {WORDS[number % len(WORDS)]}"}}'
    )
    return line.encode(), content.encode()


@dataclass(frozen=True)
class Work:
    """What one round moves: for each agency its sets, a set being pairs of change line and content line."""

    sets: dict[str, list[list[Pair]]]

    @property
    def changes(self) -> int:
        """In all sets of all agencies."""
        return sum(len(pairs) for sets in self.sets.values() for pairs in sets)

    def in_turn(self) -> Iterator[tuple[str, list[Pair]]]:
        """Every set with its agency; each agency's in order, the agencies by turns."""
        for of_all in zip(*self.sets.values(), strict=True):
            yield from zip(self.sets, of_all, strict=True)


@dataclass
class Drawing:
    """New complaints for the same agencies, round after round; every contestant of a round gets the same."""

    agencies: Sequence[str]
    sets: int
    changes_a_set: int
    made: int = 0

    def draw(self) -> Work:
        """The next round's work."""
        chance = random.Random(self.made)
        first, self.made = self.made, self.made + self.sets * self.changes_a_set

        def one_set(agency: str, start: int) -> list[Pair]:
            return [received_pair(agency, start + number, chance) for number in range(self.changes_a_set)]

        starts = range(first, self.made, self.changes_a_set)
        return Work({agency: [one_set(agency, start) for start in starts] for agency in self.agencies})


def check_load() -> int:
    """That the lines made here are what the protocol wants; the bytes of a pair, on average."""
    chance = random.Random(0)
    pairs = [received_pair("33.75", number, chance) for number in range(100)]
    for line, content in pairs:
        parse_change(line)
        parse_content(content)
    return sum(len(line) + len(content) + 2 for line, content in pairs) // len(pairs)


@dataclass
class LoadAgency:
    """An enrolled agency that signs sets ahead; `prev` and `seq` are its chain's end."""

    agency: AgencyId
    signer: Ed25519Signer
    prev: Digest
    seen: OpenCheckpoint
    chance: random.Random
    seq: int = 0
    made: int = 0
    bodies: list[tuple[int, bytes]] = field(default_factory=list)

    def sign_set(self, changes: int) -> bytes:
        """The next set of new complaints: its body in two zstd frames."""
        return self.sign_pairs([received_pair(self.agency, self.made + n, self.chance) for n in range(changes)])

    def sign_pairs(self, pairs: Sequence[Pair]) -> bytes:
        """The next set with these lines: its body in two zstd frames."""
        self.made += len(pairs)
        draft = draft_change_set([line for line, _ in pairs], [content for _, content in pairs])
        self.seq += 1
        change_set = build_change_set(
            draft,
            self.signer,
            agency=self.agency,
            epoch=1,
            seq=self.seq,
            prev=self.prev,
            at=START_MS + self.made,
            seen_size=self.seen.checkpoint.size,
            seen_root=Digest(self.seen.checkpoint.root),
            seen_sig=self.seen.signature,
        )
        self.prev = change_set.manifest.digest
        return b"".join(compress_frames(change_set.head, change_set.contents))
