"""Inputs made out of valid ones: flipped, cut, spliced, doubled, nested, with numbers, bytes and letters changed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from sync_protocol.values import b64u_encode

TOKENS = (
    b"", b"\x00", b"\n", b"\n\n", b"\r", b" ", b"\t", b"\x7f", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b"{}", b"[]", b":", b",", b"null", b"true",
    b"A" * 43, b"=", b"==", b".", b"..", b"../", b"%2e%2e%2f", b"%00", b"+", b"-",
    "—".encode(), "É".encode(), "ß".encode(), "ı".encode(), "\u2028".encode(), "\U0001f600".encode(),
    b"\x28\xb5\x2f\xfd",
    b"\x1f\x8b\x08\x00", b'{"hidden":"', b"https://evil.example", b"'; DROP TABLE head; --", b"$where", b"<!ENTITY",
)  # fmt: skip
NUMBERS = (
    b"0", b"1", b"-1", b"-0", b"1.5", b"1e400", b"NaN", b"9007199254740991", b"9007199254740992",
    b"9223372036854775807", b"18446744073709551616", b"9" * 400,
)  # fmt: skip
_NUMBER = re.compile(rb"-?[0-9]+")
_MEMBER = re.compile(rb'"[^"\\]{1,20}":(?:"[^"\\]*"|-?[0-9]+|\{\}|\[\]|null)')
_STRING = re.compile(rb'"[^"\\]*"')
Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def flip_a_bit(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def set_a_byte(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]


def cut_off(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return data[: chance.randrange(len(data))]


def take_out(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = _range(chance, data)
    return data[:start] + data[end:]


def double(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = _range(chance, data)
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 9)) + data[end:]


def move(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = _range(chance, data)
    rest = data[:start] + data[end:]
    place = chance.randrange(len(rest) + 1)
    return rest[:place] + data[start:end] + rest[place:]


def splice(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def put_a_token(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(TOKENS) + data[place + chance.choice((0, 0, 1, 2)) :]


def change_a_number(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return _replace(chance, data, _NUMBER, lambda old: chance.choice((old + b"0", b"-" + old, *NUMBERS)))


def change_a_string(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    def other(old: bytes) -> bytes:
        return b'"%b"' % chance.choice((b"", b"x", old[1:-2], old[1:-1] * 2, b"x" * 3000, *TOKENS))

    return _replace(chance, data, _STRING, other)


def change_a_type(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return _replace(chance, data, _STRING, lambda _: chance.choice((b"1", b"null", b"[]", b"{}", b"true", b"1.5")))


def double_a_member(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return _replace(chance, data, _MEMBER, lambda old: old + b"," + old)


def exchange_strings(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    found = [match.span() for match in _STRING.finditer(data)]
    if len(found) < 2:
        return flip_a_bit(chance, data, _others)
    (a, b), (c, d) = sorted(chance.sample(found, 2))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def change_case(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = _range(chance, data)
    return data[:start] + data[start:end].swapcase() + data[end:]


def nest(chance: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    depth = chance.choice((1, 2, 4, 5, 9, 1_500))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")")))
    start, end = _range(chance, data)
    return data[:start] + opening * depth + data[start:end] + closing * depth + data[end:]


def rewrap_a_part(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One part of what is joined by dots, by base64url of something else: a JWS around other bytes."""
    parts = data.split(b".")
    parts[chance.randrange(len(parts))] = b64u_encode(chance.choice((*others, *TOKENS))[:2_000]).encode()
    return b".".join(parts)


MUTATIONS: tuple[Mutation, ...] = (
    flip_a_bit, set_a_byte, cut_off, take_out, double, move, splice, put_a_token, change_a_number, change_a_string,
    change_a_type, double_a_member, exchange_strings, change_case, nest, rewrap_a_part,
)  # fmt: skip


def mutated(chance: random.Random, seeds: Sequence[bytes], limit: int) -> bytes:
    """One of the seeds after one to four mutations, at most `limit` bytes long."""
    data = chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        if not data:
            return chance.choice(TOKENS)
        data = chance.choice(MUTATIONS)(chance, data, seeds)[:limit]
    return data


def _range(chance: random.Random, data: bytes) -> tuple[int, int]:
    """A piece, short ones more often."""
    start = chance.randrange(len(data))
    return start, min(len(data), start + chance.choice((1, 2, 8, 64, len(data))))


def _replace(chance: random.Random, data: bytes, pattern: re.Pattern[bytes], other: Callable[[bytes], bytes]) -> bytes:
    found = [match.span() for match in pattern.finditer(data)]
    if not found:
        return flip_a_bit(chance, data, ())
    start, end = chance.choice(found)
    return data[:start] + other(data[start:end]) + data[end:]
