"""Telephone numbers of reporters, in one spelling (E.164). Pure."""

from __future__ import annotations

from typing import Final

REGION: Final = "ID"
SHORT_CODE_DIGITS_MAX: Final = 6  # 1708 is one: no number that phonenumbers knows, and nobody to answer


def normal_number(written: str) -> str:
    """`+62…` for what is a telephone number; anything else as it was written, such as a short code or a name."""
    from phonenumbers import (  # its tables take a tenth of a second, which most commands need not spend
        NumberParseException,
        PhoneNumberFormat,
        format_number,
        is_valid_number,
        parse,
    )

    if is_short_code(written):
        return written
    try:
        number = parse(written, REGION)
    except NumberParseException:
        return written
    return format_number(number, PhoneNumberFormat.E164) if is_valid_number(number) else written


def is_short_code(written: str) -> bool:
    """Whether it is the number of a service, not of a person."""
    return written.isascii() and written.isdigit() and len(written) <= SHORT_CODE_DIGITS_MAX
