"""The data under config/: what a person reads there is what the program does."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from node.config_data import config_file
from node.directory import load_directory
from node.settings import HubSettings, NodeSettings
from node.settings_file import format_settings, make_settings
from sync_protocol.values import AgencyId


def load(name: str) -> dict[str, Any]:
    return tomllib.loads(config_file(name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "model"), [("hub.example.toml", HubSettings), ("node.example.toml", NodeSettings)])
def test_the_example_shows_every_setting_as_the_program_writes_it(
    name: str, model: type[HubSettings | NodeSettings]
) -> None:
    settings = make_settings(model, {**load(name), "directory": Path("somewhere")})
    assert format_settings(settings) == config_file(name).read_text(encoding="utf-8")


def test_deadlines_are_dated_cited_and_those_of_the_regulation() -> None:
    tables = load("deadlines.toml")["table"]
    assert all(isinstance(table["in_force_from"], date) and table["citation"] for table in tables)
    settle = {name: limit["working_days"] for name, limit in tables[0]["settle"].items()}
    assert settle == {"information_request": 5, "complaint_ordinary": 14, "complaint_oversight": 60}
    assert tables[0]["verify"] == {"working_days": 3}
    assert tables[0]["first_answer"] == {"working_days": 5}
    assert tables[0]["close_by_itself"] == {"calendar_days": 10}


def test_the_calendar_names_its_source_and_its_overrides_are_of_one_form() -> None:
    calendar = load("calendar.toml")
    assert calendar["source"]["categories"] == ["public", "government"]
    for override in calendar["override"]:
        assert isinstance(override["day"], date)
        assert isinstance(override["working"], bool)
        assert override["citation"]
        assert set(override["regions"]) <= set(load_directory())


def test_the_calendars_source_knows_a_holiday_and_a_day_of_collective_leave() -> None:
    from holidays import country_holidays

    source = load("calendar.toml")["source"]
    days = country_holidays(source["country"], categories=tuple(source["categories"]), years=2024)
    assert date(2024, 8, 17) in days
    assert date(2024, 4, 8) in days
    assert date(2024, 8, 16) not in days


def test_the_default_desk_is_in_the_directory() -> None:
    assert AgencyId(HubSettings.model_fields["desk"].default) in load_directory()
