"""The table of services (config/open311.example.toml): what may be reported, and to whom. Pure.

A service is a category, of one agency or of all. Every complaint that the endpoint shows has a service: that of its
category, or the one service that names none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated, Final, Literal, NoReturn

import msgspec

from sync_protocol.change_types import ComplaintClass, Visibility
from sync_protocol.errors import Refused, malformed
from sync_protocol.values import AgencyId, parse_code

TABLE_MAX_BYTES: Final = 256 * 1024  # some hundred services with their questions; more is no table that a person keeps
CODE_MAX: Final = 64  # characters of a code that stands in addresses
JURISDICTION: Final = "jurisdiction_id"
SERVICE_CODE: Final = "service_code"
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

Datatype = Literal["string", "number", "datetime", "text", "singlevaluelist", "multivaluelist"]
LISTS: Final = frozenset({"singlevaluelist", "multivaluelist"})


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what stands in the table: a misspelt name is an error."""


class Option(_Entry, frozen=True, kw_only=True):
    """One that may be chosen."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    name: str


class Attribute(_Entry, frozen=True, kw_only=True):
    """A question that a service asks. `variable` false: nothing is asked, `description` is only shown."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=CODE_MAX)]
    datatype: Datatype
    required: bool = False
    variable: bool = True
    description: str = ""
    datatype_description: str = ""
    values: list[Option] = []


class Service(_Entry, frozen=True, kw_only=True):
    """What may be reported. Without `agency` it is for each agency of the endpoint, without `category` for the rest."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=CODE_MAX)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    description: str = ""
    category: str | None = None
    class_: ComplaintClass | None = msgspec.field(default=None, name="class")
    agency: str | None = None
    visibility: Visibility = "anonymous"
    type: Literal["realtime", "batch", "blackbox"] = "realtime"
    keywords: list[str] = []
    group: str = ""
    notice: str = ""
    attribute: list[Attribute] = []


class ServiceTable(_Entry, frozen=True, kw_only=True):
    """The whole table. `changed` is what discovery tells clients that keep a copy.

    `show_words`: what was reported is shown when an officer has looked at it, or at once.
    """

    changed: date
    stage: Literal["production", "test", "acceptance"] = "production"
    contact: str = ""
    key_service: str = ""
    url: str = ""
    jurisdictions: list[str] = []
    jurisdiction_required: bool = False
    show_words: Literal["verified", "at_once"] = "verified"
    service: list[Service]


class Services:
    """Answers what the table says. `is_agency` knows the agencies that may be named beside those of the table."""

    def __init__(self, table: ServiceTable, *, own: str | None, is_agency: Callable[[str], bool] = lambda _: False):
        self.table = table
        self.own = own
        self._is_agency = is_agency
        self._by_code = {service.code: service for service in table.service}
        self._by_category = {(service.category, service.agency): service for service in table.service}
        named = [*table.jurisdictions, *(service.agency for service in table.service if service.agency)]
        self._jurisdictions = frozenset(named if own is None else [*named, own])

    def jurisdiction(self, text: str | None) -> str | None:
        """The agency that a call is about, None for all. Raises Refused: malformed (none is named), not-found."""
        if text is None:
            if self.table.jurisdiction_required:
                raise malformed(f"{JURISDICTION} is required: this endpoint serves several", JURISDICTION)
            return None
        if text in self._jurisdictions or self._is_agency(text):
            return text
        raise Refused("not-found", f"{JURISDICTION} was not found", where=JURISDICTION)

    def of(self, jurisdiction: str | None) -> Sequence[Service]:
        """What may be reported there, in the order of the table."""
        return [one for one in self.table.service if jurisdiction is None or one.agency in (None, jurisdiction)]

    def by_code(self, code: str, jurisdiction: str | None) -> Service:
        """Raises Refused(not-found)."""
        found = self._by_code.get(code)
        if found is None or (jurisdiction is not None and found.agency not in (None, jurisdiction)):
            raise Refused("not-found", f"{SERVICE_CODE} was not found", where=SERVICE_CODE)
        return found

    def of_complaint(self, category: str | None, owner: str) -> Service:
        """The owner's own service for the category, the general one for it, or the one that names no category."""
        for named in ((category, owner), (category, None), (None, None)):
            found = self._by_category.get(named)
            if found is not None:
                return found
        raise AssertionError("a table has a service without category and agency")

    def target(self, service: Service, jurisdiction: str | None) -> str | None:
        """The agency that was named, unless it is our own: the complaint is offered there."""
        named = service.agency or jurisdiction
        return None if named == self.own else named


def read_services(text: str) -> ServiceTable:
    """From the words of the file. Raises Refused(configuration), saying what is wrong with it."""
    try:
        table = msgspec.convert(tomllib.loads(text), ServiceTable)
        _check(table)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, Refused, RecursionError, ValueError) as error:
        _wrong(error.detail if isinstance(error, Refused) else str(error))
    return table


def _check(table: ServiceTable) -> None:
    codes = [service.code for service in table.service]
    places = [(service.category, service.agency) for service in table.service]
    if len(set(codes)) < len(codes):
        raise malformed("two services have one code")
    if len(set(places)) < len(places):
        raise malformed("two services are for one category of one agency")
    if (None, None) not in places:
        raise malformed("one service must name neither category nor agency: it is for all that no other is for")
    for agency in [*table.jurisdictions, *(service.agency for service in table.service)]:
        if agency is not None:
            AgencyId.parse(agency)
    for service in table.service:
        _check_service(service)


def _check_service(service: Service) -> None:
    if not _CODE.fullmatch(service.code):
        raise malformed(f"{service.code!r} is no code of letters, digits, - and _")
    if service.category is not None:
        parse_code(service.category, "category")
    attributes = [attribute.code for attribute in service.attribute]
    if len(set(attributes)) < len(attributes) or not all(map(_CODE.fullmatch, attributes)):
        raise malformed(f"the attributes of {service.code} need codes of letters, digits, - and _, each its own")
    for attribute in service.attribute:
        keys = [option.key for option in attribute.values]
        if len(set(keys)) < len(keys) or bool(keys) != (attribute.datatype in LISTS):
            raise malformed(f"{attribute.code} of {service.code}: a list has values, each with its own key")


def _wrong(why: str) -> NoReturn:
    step = "Correct the file that open311_services names, by config/open311.example.toml."
    raise Refused(
        "configuration", f"the table of services cannot be used: {why}", where="open311", members={"next": step}
    )
