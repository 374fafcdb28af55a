"""Settings: one file, one environment, one plain sentence for whatever is wrong in them."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from keys.signer import Ed25519Signer
from node.config_data import config_file
from node.settings import HubSettings, NodeSettings
from node.settings_file import (
    amend_settings,
    check_environment,
    format_settings,
    load_settings,
    make_settings,
    write_settings,
)
from node.system import SystemClock, SystemRandomness
from node.wiring.hub import hub_options
from sync_protocol.errors import Refused
from sync_protocol.note import vkey_for

VKEY = vkey_for("hub.example/log", Ed25519Signer.from_seed(bytes(32)).public_key).format()
HUB = {"role": "hub", "origin": "hub.example/log"}
NODE = {"role": "node", "agency": "33.75", "hub_url": "https://hub.example", "vkey": VKEY}


def toml(values: dict[str, Any]) -> str:
    return "".join(f"{name} = {value!r}\n".replace("True", "true") for name, value in values.items())


def directory_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "simpul.toml").write_text(text)
    return tmp_path


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(Refused) as caught:
        load_settings(directory_with(tmp_path, text))
    assert caught.value.kind == "configuration"
    assert caught.value.members["next"]
    return f"{caught.value.detail} · {caught.value.members['next']}"


def test_a_hub_and_a_node_need_no_more_than_what_only_they_can_know(tmp_path: Path) -> None:
    hub = load_settings(directory_with(tmp_path, toml(HUB)), HubSettings)
    assert (hub.host, hub.port, hub.origin) == ("127.0.0.1", 8700, "hub.example/log")
    assert hub.database == f"sqlite+aiosqlite:///{tmp_path}/hub.db"
    assert hub.projection == f"sqlite+aiosqlite:///{tmp_path}/projection.db"
    node = load_settings(directory_with(tmp_path, toml(NODE)), NodeSettings)
    assert (node.port, node.agency, node.database) == (8800, "33.75", f"sqlite+aiosqlite:///{tmp_path}/node.db")
    assert node.keys_directory == tmp_path / "keys"


def test_settings_cannot_be_changed_once_read(tmp_path: Path) -> None:
    settings = load_settings(directory_with(tmp_path, toml(NODE)))
    with pytest.raises(ValidationError):
        settings.port = 1


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMPUL_PORT", "9999")
    assert load_settings(directory_with(tmp_path, toml({**HUB, "port": 1}))).port == 9999


def test_an_unknown_setting_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    words = refusal(tmp_path, toml({**NODE, "retention_day": 3}))
    assert "unknown setting retention_day" in words
    assert "Did you mean retention_days?" in words
    assert str(tmp_path / "simpul.toml") in words


def test_an_unknown_setting_in_the_environment_is_named_too() -> None:
    with pytest.raises(Refused, match="unknown setting SIMPUL_DATABSE_URL") as caught:
        check_environment({"SIMPUL_DATABSE_URL": "x", "HOME": "y"})
    assert "SIMPUL_DATABASE_URL" in str(caught.value.members["next"])
    check_environment({"SIMPUL_AUDIT_TOKEN": "x", "SIMPUL_HUB_URL": "y", "simpul_port": "1"})


@pytest.mark.parametrize("name", ["SIMPUL_DIRECTORY", "SIMPUL_ROLE"])
def test_what_a_directory_is_cannot_be_changed_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "hub")
    assert "unknown setting" in refusal(tmp_path, toml(NODE))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"port": 70_000}, "setting port"),
        ({"port": "many"}, "setting port"),
        ({"agency": "Kota Pekalongan"}, "setting agency"),
        ({"hub_url": "ftp://hub.example"}, "setting hub_url"),
        ({"vkey": "hub.example/log+00000000+AAAA"}, "setting vkey"),
        ({"database_url": "mysql://x"}, "begins with sqlite+aiosqlite://"),
        ({"database_url": "postgresql+asyncpg://localhost/node"}, "begins with sqlite+aiosqlite://"),
        ({"retention_days": 30}, "setting retention_days"),
        ({"tls_cert": "cert.pem"}, "tls_cert and tls_key belong together"),
        ({"directory": "elsewhere"}, "unknown setting directory"),
        ({"key_passphrase": "secret words"}, "does not belong"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    said = refusal(tmp_path, toml({**NODE, **values}))
    assert words in said
    assert "simpul.toml" in said


@pytest.mark.parametrize("origin", ["", "https://hub.example/log", "a b", "a+b", "x\u2003y", "n" * 300])
def test_an_origin_that_could_not_be_a_key_name_is_refused(tmp_path: Path, origin: str) -> None:
    with pytest.raises(Refused, match="setting origin"):
        make_settings(HubSettings, {"directory": tmp_path, "origin": origin})


def test_a_wrong_value_from_the_environment_blames_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPUL_PORT", "many")
    assert "in SIMPUL_PORT is wrong" in refusal(tmp_path, toml(NODE))


def test_a_password_in_a_wrong_database_url_is_not_repeated(tmp_path: Path) -> None:
    assert "geheim" not in refusal(tmp_path, toml({**NODE, "database_url": "mysql://u:geheim@db/x"}))


def test_a_missing_setting_a_missing_file_and_broken_toml_are_said_plainly(tmp_path: Path) -> None:
    assert "setting vkey is missing" in refusal(tmp_path, toml({**NODE, "vkey": None}).replace("vkey = None\n", ""))
    assert "is not TOML" in refusal(tmp_path, "role = hub\n")
    assert "role" in refusal(tmp_path, "")
    assert "is not TOML" in refusal(tmp_path, "port = " + "9" * 5_000)
    assert "is not TOML" in refusal(tmp_path, "port = " + "[" * 5_000)
    with pytest.raises(Refused, match="no directory of a hub or a node") as caught:
        load_settings(tmp_path / "elsewhere")
    assert "simpul hub init" in str(caught.value.members["next"])


def test_a_hubs_directory_is_not_taken_for_a_nodes(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="directory of a hub"):
        load_settings(directory_with(tmp_path, toml(HUB)), NodeSettings)


def test_written_settings_are_read_back_equal_and_belong_to_their_owner_alone(tmp_path: Path) -> None:
    values = {**NODE, "directory": tmp_path, "port": 0, "ca_file": 'a "quoted" ca.pem', "allow_plain_http": True}
    settings = make_settings(NodeSettings, values)
    path = write_settings(settings)
    assert load_settings(tmp_path) == settings
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["simpul.toml"]


def test_every_setting_is_in_the_file_with_its_default_and_what_it_does(tmp_path: Path) -> None:
    text = format_settings(make_settings(HubSettings, {**HUB, "directory": tmp_path}))
    for name, field in HubSettings.model_fields.items():
        if name not in ("directory", "key_passphrase"):
            assert f"{name} = " in text
            assert str(field.description) in text
    uncommented = "".join(line.removeprefix("# ") for line in text.splitlines(keepends=True) if " = " in line)
    load_settings(directory_with(tmp_path, uncommented))


def test_writing_again_changes_nothing_and_other_values_are_not_lost_silently(tmp_path: Path) -> None:
    settings = make_settings(HubSettings, {**HUB, "directory": tmp_path})
    write_settings(settings)
    write_settings(settings)
    directory_with(tmp_path, toml({**HUB, "port": 1}))
    with pytest.raises(Refused, match="says something else"):
        write_settings(settings)
    write_settings(settings, replace=True)
    assert load_settings(tmp_path) == settings


def test_the_passphrase_comes_from_a_private_file_or_the_environment_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("empat kata yang lepas\n")
    secret.chmod(0o600)
    settings = load_settings(directory_with(tmp_path, toml({**NODE, "key_passphrase_file": "passphrase"})))
    assert settings.passphrase() == "empat kata yang lepas"
    secret.chmod(0o640)
    with pytest.raises(Refused, match="others may read"):
        settings.passphrase()
    secret.unlink()
    with pytest.raises(Refused, match="cannot be read"):
        settings.passphrase()
    monkeypatch.setenv("SIMPUL_KEY_PASSPHRASE", "kata dari lingkungan")
    settings = load_settings(tmp_path)
    assert settings.passphrase() == "kata dari lingkungan"
    assert "lingkungan" not in repr(settings) + format_settings(settings) + str(settings.model_dump())


def test_a_data_file_is_found_and_a_path_out_of_the_folder_is_not() -> None:
    assert config_file("generator.toml").is_file()
    for name in ("no-such-file.toml", "../pyproject.toml"):
        with pytest.raises(Refused, match="not part of this installation"):
            config_file(name)


async def test_the_systems_clock_and_randomness_keep_their_ports_promises() -> None:
    clock, randomness = SystemClock(), SystemRandomness()
    before = clock.monotonic_s()
    await clock.sleep(0.01)
    assert clock.monotonic_s() - before >= 0.009
    assert clock.now_ms() > 1_700_000_000_000
    assert len({randomness.bytes(16) for _ in range(100)}) == 100
    assert all(0 <= randomness.fraction() < 1 for _ in range(1_000))


def test_what_an_operator_wrote_before_stays_when_init_or_enrol_writes_again(tmp_path: Path) -> None:
    directory_with(tmp_path, 'role = "node"\nport = 8899\nkey_passphrase_file = "pass"\n')
    changes = {"agency": "33.75", "hub_url": "https://hub.example", "vkey": VKEY}
    write_settings(amend_settings(tmp_path, NodeSettings, changes, final=("agency",)), replace=True)
    again = load_settings(tmp_path, NodeSettings)
    assert (again.port, again.key_passphrase_file, again.agency) == (8899, Path("pass"), "33.75")


def test_what_is_final_is_not_changed_by_a_second_init(tmp_path: Path) -> None:
    directory_with(tmp_path, toml(HUB))
    with pytest.raises(Refused, match="final"):
        amend_settings(tmp_path, HubSettings, {"origin": "another.example/log"}, final=("origin",))
    with pytest.raises(Refused, match="directory of a hub"):
        amend_settings(tmp_path, NodeSettings, {"agency": "33.75"})


def test_what_holds_a_password_is_not_in_the_repr_of_settings_and_options(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://simpul:s3cr3t-w0rds@localhost/hub"
    urls = {"database_url": url, "projection_url": url, "lock_url": url + "_lock"}
    settings = make_settings(HubSettings, {"directory": tmp_path, "origin": "hub.example/log", **urls})
    assert (settings.database, settings.projection, settings.lock_url) == (url, url, url + "_lock")
    options = hub_options(settings)
    assert (options.database_url, options.log_file, options.projection_file) == (url, None, None)
    assert "s3cr3t" not in repr(settings) + str(settings) + repr(options)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sms_secret", "short", "at least 16 letters"),
        ("sms_secret", "with blanks & signs in it", "as they stand in an address"),
        ("sms_allow", "127.0.0.1, somewhere", "addresses or networks"),
        ("sms_allow", "10.1.0.1/16", "addresses or networks"),
        ("trusted_proxies", "nginx", "addresses or networks"),
    ],
)
def test_a_channel_is_not_turned_on_by_a_setting_that_is_wrong(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    said = refusal(tmp_path, toml(NODE | {name: value}))
    assert words in said
    assert value not in said


def test_the_secret_of_a_channel_is_kept_and_not_shown(tmp_path: Path) -> None:
    secret = "0123456789abcdef-secret"
    settings = make_settings(NodeSettings, NODE | {"directory": tmp_path, "sms_secret": secret, "sms_allow": "::1"})
    assert secret not in repr(settings)
    write_settings(settings)
    assert load_settings(tmp_path, NodeSettings).sms_secret == secret


def test_a_hubs_database_is_sqlite_or_postgresql_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="begins with sqlite\\+aiosqlite:// or postgresql\\+asyncpg://"):
        make_settings(HubSettings, {"directory": tmp_path, "origin": "hub.example/log", "database_url": "mysql://x"})


def test_a_lock_url_names_postgresql_or_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="setting lock_url"):
        make_settings(
            HubSettings, {"directory": tmp_path, "origin": "hub.example/log", "lock_url": "sqlite+aiosqlite:///x"}
        )


def test_where_the_hub_sends_reports_is_an_address_and_empty_is_nowhere(tmp_path: Path) -> None:
    text = toml(HUB) + 'open311_services = "open311.toml"\nopen311_post_url = "https://desk.example/open311/v2/"\n'
    settings = load_settings(directory_with(tmp_path, text), HubSettings)
    assert settings.open311_post_url == "https://desk.example/open311/v2"
    assert settings.file(settings.open311_services or Path()) == tmp_path / "open311.toml"
    empty = load_settings(directory_with(tmp_path, toml(HUB) + 'open311_services = ""\nopen311_post_url = ""\n'))
    assert (empty.open311_services, getattr(empty, "open311_post_url", "")) == (None, None)
    assert "open311_post_url" in refusal(tmp_path, toml(HUB) + 'open311_post_url = "desk.example"\n')
