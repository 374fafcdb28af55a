"""Routing suggestions: explicit rules with a reason, never followed by themselves."""

from __future__ import annotations

import pytest

from node.config_data import config_file
from node.directory import load_directory
from node.local.suggestions import AREA, RoutingRules, read_rules
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId
from tests.store.local_samples import state_of

RULES = """
version = 7
[[rule]]
name = "place"
to = "area"
reason = "it lies there"
[[rule]]
name = "roads"
to = "kementerian-pupr"
reason = "national roads"
keywords = ["jalan nasional"]
areas = ["35"]
[[rule]]
name = "aid"
to = "kementerian-sosial"
reason = "social aid"
categories = ["bantuan-sosial"]
classes = ["aspiration"]
"""


@pytest.fixture
def rules() -> RoutingRules:
    return read_rules(RULES)


def told(rules: RoutingRules, *texts: str, **facts: object) -> list[tuple[str, str]]:
    return [(one.to, one.rule) for one in rules.suggest(state_of(1, **facts), texts, lambda _: True)]


def test_all_conditions_of_a_rule_must_hold_and_its_reason_is_shown(rules: RoutingRules) -> None:
    assert told(rules, "Di JALAN nasional berlubang", area="35.06.01") == [
        ("35.06", "place"),
        ("kementerian-pupr", "roads"),
    ]
    assert told(rules, "Di jalan nasional berlubang", area="33.75") == []  # its owner is never suggested
    assert told(rules, "jalan nasionalisme", area="35.06") == [("35.06", "place")]
    assert told(rules, "x", category="bantuan-sosial", class_="aspiration") == [("kementerian-sosial", "aid")]
    assert told(rules, "x", category="bantuan-sosial") == []
    assert told(rules, "x", area="350") == []
    (one,) = rules.suggest(state_of(1, area="35.06"), [], lambda _: True)
    assert (one.reason, one.version) == ("it lies there", 7)


def test_nobody_is_suggested_who_is_not_enrolled(rules: RoutingRules) -> None:
    assert rules.suggest(state_of(1, area="35.06"), [], lambda agency: agency != "35.06") == []


@pytest.mark.parametrize(
    "words",
    [
        "",
        "version = 1",
        'version = "1"\nrule = []',
        'version = 1\n[[rule]]\nname = "a"\nto = "A B"\nreason = "x"',
        'version = 1\n[[rule]]\nname = "a"\nto = "area"\nreason = "x"\nkeyword = ["y"]',
        'version = 1\n[[rule]]\nname = "a"\nto = "area"\nreason = "x"\n' * 2,
        RULES + '[[rule]]\nname = "aid"\nto = "area"\nreason = "x"\n',
    ],
)
def test_rules_that_cannot_be_used_say_so(words: str) -> None:
    with pytest.raises(Refused) as refused:
        read_rules(words)
    assert refused.value.kind == "configuration"


def test_the_rules_that_come_along_name_agencies_that_there_are() -> None:
    rules = read_rules(config_file("routing.toml").read_text(encoding="utf-8"))
    assert rules.rules
    assert {rule.to for rule in rules.rules} - {AREA} <= {str(code) for code in load_directory()}
    assert all(isinstance(AgencyId.parse(rule.to), str) for rule in rules.rules if rule.to != AREA)
