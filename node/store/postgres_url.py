"""A PostgreSQL URL: what may stand in it, what is said of it, and never its password."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from sync_protocol.errors import Refused, Unavailable

_QUERY: Final = frozenset({"host", "port", "ssl", "passfile", "target_session_attrs"})
_DEFAULTS: Final = {"host": "localhost", "port": 5432, "database": ""}  # where a URL leaves them out
_FORM: Final = "Write it as postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE."


def is_same_database(one: str, other: str) -> bool:
    """Whether both URLs name one database of one server, as far as their words tell. Raises Refused(configuration)."""
    return _address(one) == _address(other)


def _address(url: str) -> tuple[Any, ...]:
    arguments = connect_arguments(url)
    return tuple(arguments.get(name) or default for name, default in _DEFAULTS.items())


def shown_url(url: str) -> str:
    """The URL as it may be printed: without its password."""
    return parse_url(url).render_as_string(hide_password=True)


def parse_url(url: str) -> URL:
    """Raises Refused(configuration), without repeating what was wrong: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _configuration("a database URL cannot be read", _FORM) from None
    if parsed.drivername != "postgresql+asyncpg":
        raise _configuration("a PostgreSQL URL begins with postgresql+asyncpg://", _FORM)
    unknown = sorted(set(parsed.query) - _QUERY)
    if unknown:
        step = f"Known are {', '.join(sorted(_QUERY))}; for TLS: ?ssl=require, or verify-full."
        raise _configuration(f"the database URL has an unknown option {unknown[0]}", step)
    return parsed


def in_words(error: BaseException, url: str) -> Refused | Unavailable:
    """What went wrong with a connection, for the person at the keyboard."""
    shown = shown_url(url)
    match error:
        case asyncpg.InvalidCatalogNameError():
            step = f"Create it (docs/operations.md, 'PostgreSQL'): createdb {parse_url(url).database}"
            return _configuration(f"there is no such database: {shown}", step)
        case asyncpg.InvalidAuthorizationSpecificationError():  # also a wrong password
            step = "Correct user and password in the URL, or in the server's pg_hba.conf."
            return _configuration(f"the database server refuses this user or password: {shown}", step)
        case asyncpg.InsufficientPrivilegeError():
            step = "Make the role the owner of the database (docs/operations.md, 'PostgreSQL')."
            return _configuration(f"the role lacks rights on {shown}: {error}", step)
        case ValueError() if not isinstance(error, OSError):
            return _configuration(f"the driver does not take this URL: {shown}", _FORM)
        case OSError():
            return Unavailable(f"the database server does not answer: {shown}")
    return Unavailable(f"the database server does not let us in now: {shown} ({type(error).__name__}: {error})")


def _configuration(detail: str, step: str) -> Refused:
    return Refused("configuration", detail, members={"next": step})


def connect_arguments(url: str) -> dict[str, Any]:
    """What asyncpg's `connect` takes, from our URL. Raises Refused(configuration)."""
    parsed = parse_url(url)
    _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    return dict(arguments)
