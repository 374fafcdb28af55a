"""Settings of one directory: `DIR/simpul.toml`, overridden by `SIMPUL_*` in the environment, frozen once read.

Nobody but wiring reads them; services are handed the values they need. An unknown setting is an error that names the
nearest known one: a typing mistake must not silently leave a default in force. Relative paths, also in a SQLite URL,
are relative to DIR.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from node.config_data import config_file
from sync_protocol.errors import Refused
from sync_protocol.limits import SET_MAX_LEAVES
from sync_protocol.note import VerifierKey, check_key_name
from sync_protocol.values import AgencyId

__all__ = ["HubSettings", "NodeSettings", "check_http_url", "config_file"]  # data files are asked for here, too

ENVIRONMENT_PREFIX = "SIMPUL_"
SETTINGS_FILE = "simpul.toml"
SECRET_LEAST_CHARACTERS = 16  # of random letters: beyond guessing over a network
PASSPHRASE_FILE_MAX_BYTES = 4_096  # a passphrase is a line
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SQLITE, _POSTGRESQL = "sqlite+aiosqlite", "postgresql+asyncpg"


class _Settings(BaseSettings):
    """What hub and node share. `directory` is where the file lies; it is not a setting."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )
    DATABASE_FILE: ClassVar[str]
    DRIVERS: ClassVar[tuple[str, ...]]

    directory: Path = Field(exclude=True, repr=False)
    host: str = Field("127.0.0.1", description="Address to listen on.")
    database_url: str = Field("", repr=False, description="Names its driver. Empty: SQLite in this directory.")
    trusted_proxies: str = Field(
        "", description="Proxies whose X-Forwarded-For is believed: addresses or networks such as `127.0.0.1`."
    )
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM), to serve TLS without a proxy.")
    tls_key: Path | None = Field(None, description="Its private key (PEM).")
    key_passphrase_file: Path | None = Field(None, description="File with the passphrase of keys/, mode 0600.")
    key_passphrase: SecretStr | None = Field(None, exclude=True, description="From the environment only.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What goes to stderr.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else is looked at."""
        return env_settings, init_settings

    @field_validator(
        "tls_cert",
        "tls_key",
        "key_passphrase_file",
        "public_url",
        "ca_file",
        "open311_services",
        "open311_post_url",
        "connectors_file",
        "mentions_user_id",
        "mentions_token_file",
        "sms_send_url",
        "sms_send_password_file",
        mode="before",
        check_fields=False,
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("trusted_proxies", "sms_allow", check_fields=False)
    @classmethod
    def _networks(cls, text: str) -> str:
        try:
            networks_in(text)
        except ValueError:
            raise ValueError("addresses or networks such as 127.0.0.1, 10.1.0.0/16, with commas between") from None
        return text

    @field_validator("directory")
    @classmethod
    def _absolute(cls, directory: Path) -> Path:
        return directory.absolute()

    @model_validator(mode="after")
    def _both_halves_of_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        return self

    @field_validator("database_url", "projection_url", "lock_url", check_fields=False)
    @classmethod
    def _names_a_driver(cls, text: str, about: ValidationInfo) -> str:
        if text:
            from sqlalchemy.engine import make_url
            from sqlalchemy.exc import ArgumentError

            try:
                driver = make_url(text).drivername
            except ArgumentError:
                raise ValueError("not a database URL") from None
            drivers = (_POSTGRESQL,) if about.field_name == "lock_url" else cls.DRIVERS
            if driver not in drivers:
                raise ValueError(f"the URL begins with {' or '.join(name + '://' for name in drivers)}")
        return text

    def file(self, path: Path) -> Path:
        """A path of the settings, taken from DIR where it is relative."""
        return self.directory / path

    @property
    def keys_directory(self) -> Path:
        """Where the keys are (0700)."""
        return self.directory / "keys"

    @property
    def database(self) -> str:
        """The URL to open; a relative SQLite file lies in DIR."""
        return self._located(self.database_url or f"sqlite+aiosqlite:///{self.DATABASE_FILE}")

    def _located(self, text: str) -> str:
        from sqlalchemy.engine import make_url  # who asks for it opens the database next; the others start without it

        url = make_url(text)
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            return text
        return url.set(database=str(self.directory / url.database)).render_as_string(hide_password=False)

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """Certificate chain and key, if the program itself serves TLS."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return self.file(self.tls_cert), self.file(self.tls_key)

    def passphrase(self) -> str | None:
        """Of the key files, if there is one. Raises Refused(configuration, unsafe-key-file)."""
        if self.key_passphrase is not None:
            return self.key_passphrase.get_secret_value()
        return None if self.key_passphrase_file is None else _read_passphrase(self.file(self.key_passphrase_file))


class HubSettings(_Settings):
    """The national hub's directory."""

    DATABASE_FILE: ClassVar[str] = "hub.db"
    DRIVERS: ClassVar[tuple[str, ...]] = (_SQLITE, _POSTGRESQL)

    role: Literal["hub"] = Field("hub", description="What this directory is.")
    origin: str = Field(description="The log's name. Final: it is in every receipt.")
    public_url: str | None = Field(None, description="The address that agencies use, if a proxy stands before it.")
    port: int = Field(8700, ge=0, le=65_535, description="0 takes a free one.")
    projection_url: str = Field(
        "", repr=False, description="Query tables. Empty: SQLite in this directory, or the database."
    )
    lock_directory: Path = Field(Path("lock"), description="The newest checkpoint. Never restore it from a backup.")
    lock_url: str = Field(
        "", repr=False, description="The same in a PostgreSQL database of its own, for a hub on several machines."
    )
    projector: bool = Field(True, description="Fold the log into the query tables in this process.")
    group_commit_max: int = Field(64, ge=1, le=1_024, description="Change sets in one commit, at most.")
    requests_max: int = Field(
        128, ge=2, le=10_000, description="Change sets read and worked on at the same time; the others wait in line."
    )
    waiting_max: int = Field(1_024, ge=2, le=100_000, description="Requests in that line; beyond: 503, Retry-After.")
    connections_max: int = Field(2_048, ge=16, le=100_000, description="Beyond it, silent ones are ended.")
    bodies_max_mib: int = Field(
        128, ge=64, le=65_536, description="MiB for bodies, whatever is sent; the largest set takes 32."
    )
    verify_threads: int = Field(2, ge=1, le=64, description="Sets decompressed at the same time, some 75 MiB each.")
    body_timeout_s: int = Field(60, ge=1, le=3_600, description="Silence after which a request's body is given up.")
    tick_interval_s: int = Field(3_600, ge=1, le=86_400, description="How often the log is told the time.")
    projected_after_s: float = Field(
        900.0, gt=0, description="Age of what waits to be folded beyond which this hub is not healthy."
    )
    invitation_days: int = Field(14, ge=1, le=365, description="How long an enrolment token can be used first.")
    files_directory: Path = Field(Path("files"), description="Attached files. Several machines share it.")
    file_max_mib: int = Field(
        25, ge=1, le=2_048, description="MiB of one file: a photograph has 5, a minute of film 20."
    )
    files_max_gib: int = Field(500, ge=1, le=1_000_000, description="GiB of all files; beyond: nodes wait.")
    files_agency_max_gib: int = Field(50, ge=1, le=1_000_000, description="GiB of the files of one agency.")
    files_free_mib: int = Field(
        1_024, ge=16, le=1_000_000, description="MiB that files leave free on their disk, for the database."
    )
    desk: str = Field("kementerian-panrb", description="The agency that takes back and directs what nobody takes.")
    bounce_limit: int = Field(3, ge=1, le=100, description="Refused offers after which the desk may take over.")
    silence_s: int = Field(1_209_600, ge=1, description="Silence after which the desk may take over.")
    open311_services: Path | None = Field(
        None, description="Table of the services of /open311/v2, as config/open311.example.toml. Empty: no Open311."
    )
    open311_post_url: str | None = Field(
        None, description="The desk node's own /open311/v2, where whoever wants to report there is sent."
    )

    @field_validator("origin")
    @classmethod
    def _origin_is_a_key_name(cls, origin: str) -> str:
        if "://" in origin:
            raise ValueError("a name such as hub.lapor.go.id/log, without https://")
        return _said_by_pydantic(check_key_name, origin)

    @field_validator("public_url", "open311_post_url")
    @classmethod
    def _public_url(cls, url: str | None) -> str | None:
        return None if url is None else check_http_url(url)

    @field_validator("desk")
    @classmethod
    def _desk(cls, code: str) -> str:
        return _said_by_pydantic(AgencyId.parse, code)

    @property
    def projection(self) -> str:
        """The projection's URL: its own SQLite file (ADR 0002), or the hub's database where that is PostgreSQL."""
        if self.projection_url or self.database.startswith("sqlite"):
            return self._located(self.projection_url or "sqlite+aiosqlite:///projection.db")
        return self.database


class NodeSettings(_Settings):
    """One agency's local node."""

    DATABASE_FILE: ClassVar[str] = "node.db"
    DRIVERS: ClassVar[tuple[str, ...]] = (_SQLITE,)

    role: Literal["node"] = Field("node", description="What this directory is.")
    agency: str = Field(description="Whose node it is. Final.")
    hub_url: str = Field(description="The hub's address.")
    vkey: str = Field(description="The hub's log key, from the invitation.")
    ca_file: Path | None = Field(None, description="CA of the hub's certificate, if it is not among the system's.")
    allow_plain_http: bool = Field(False, description="Plain http to the hub also beyond loopback: anybody may read.")
    port: int = Field(8800, ge=0, le=65_535, description="0 takes a free one.")
    set_changes_max: int = Field(
        1_000, ge=1, le=SET_MAX_LEAVES // 2, description="Changes in one set: larger costs fewer bytes a change."
    )
    request_timeout_s: float = Field(
        60.0, gt=0, le=3_600, description="Silence of the hub after which it counts as away."
    )
    stale_after_s: float = Field(
        90_000.0,
        gt=0,
        description="Age of the newest receipt beyond which this node is not healthy; one a day is sent.",
    )
    refused_after_s: float = Field(
        900.0, gt=0, description="The same while changes wait and the hub refuses this node."
    )
    connectors_file: Path | None = Field(
        None, description="Other systems that report here, as config/connectors.example.toml. Empty: none."
    )
    mentions_user_id: str | None = Field(None, description="Account on X whose mentions are complaints. Empty: none.")
    mentions_token_file: Path | None = Field(None, description="Its bearer token, in a file that only we may read.")
    mentions_api_url: str = Field("https://api.x.com", description="Where the API of X is.")
    files_directory: Path = Field(Path("files"), description="Attached files.")
    file_max_mib: int = Field(
        25, ge=1, le=2_048, description="MiB of one file: a photograph has 5, a minute of film 20."
    )
    files_max_gib: int = Field(50, ge=1, le=1_000_000, description="GiB of all files; beyond: uploads are refused.")
    files_free_mib: int = Field(
        1_024, ge=16, le=1_000_000, description="MiB that files leave free on their disk, for the database."
    )
    files_keep_back_confidential: bool = Field(
        False, description="Files of confidential complaints do not go to the hub; whoever owns them next gets none."
    )
    close_by_itself: bool = Field(
        True, description="Whether answered complaints are closed once their quiet period is over."
    )
    retention_days: int = Field(365, ge=365, description="Sent sets and receipts refill a hub: a year at least.")
    retention_sets: int = Field(10_000, ge=10_000, description="And this many of the newest, however old.")
    open311_services: Path | None = Field(
        None, description="Table of the services of /open311/v2, as config/open311.example.toml. Empty: no Open311."
    )
    sms_secret: str = Field(
        "", repr=False, description="Turns the SMS channel on (docs/channels.md): what smsbox says in `secret`."
    )
    sms_allow: str = Field(
        "", description="Turns it on as well: addresses that smsbox calls from, such as `127.0.0.1, 10.1.0.0/16`."
    )

    sms_send_url: str | None = Field(
        None, description="Tells reporters by SMS (docs/channels.md): smsbox's sendsms. Empty: nobody is told."
    )
    sms_send_user: str = Field("simpul", description="Our name there.")
    sms_send_password_file: Path | None = Field(None, description="Our password, in a file that only we may read.")
    sms_send_from: str = Field("1708", description="The number that these SMS come from.")

    @field_validator("agency")
    @classmethod
    def _code(cls, code: str) -> str:
        return _said_by_pydantic(AgencyId.parse, code)

    @field_validator("sms_secret")
    @classmethod
    def _hard_to_guess(cls, secret: str) -> str:
        if secret and (len(secret) < SECRET_LEAST_CHARACTERS or not re.fullmatch("[A-Za-z0-9._~-]+", secret)):
            raise ValueError(f"at least {SECRET_LEAST_CHARACTERS} letters and digits, as they stand in an address")
        return secret

    @field_validator("hub_url", "mentions_api_url")
    @classmethod
    def _hub_url(cls, url: str) -> str:
        return check_http_url(url)

    @field_validator("sms_send_url")
    @classmethod
    def _gateway(cls, url: str | None, info: ValidationInfo) -> str | None:
        """https, unless it stands on this machine: numbers and a password are in it."""
        if url is None:
            return None
        checked, plain = check_http_url(url), bool(info.data.get("allow_plain_http"))
        if not plain and urlsplit(checked).scheme == "http" and urlsplit(checked).hostname not in _LOOPBACK:
            raise ValueError("https, or allow_plain_http where the network itself is private")
        return checked

    @model_validator(mode="after")
    def _gateway_password(self) -> Self:
        if self.sms_send_url is not None and self.sms_send_password_file is None:
            raise ValueError("sms_send_url wants sms_send_password_file")
        return self

    @field_validator("vkey")
    @classmethod
    def _vkey(cls, text: str) -> str:
        return _said_by_pydantic(lambda words: VerifierKey.parse(words).format(), text)


def networks_in(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks with commas between. Raises ValueError."""
    return tuple(ip_network(word.strip()) for word in text.split(",") if word.strip())


def check_http_url(url: str) -> str:
    """An http(s) address without query, its last slash cut. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an address such as https://hub.lapor.go.id")
    return url.rstrip("/")


def _said_by_pydantic(parse: Callable[[str], str], text: str) -> str:
    """What one of our parsers refuses, in the form that a validator raises."""
    try:
        return parse(text)
    except Refused as refused:
        raise ValueError(refused.detail) from None


def _read_passphrase(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            data = file.read(PASSPHRASE_FILE_MAX_BYTES)
    except OSError as error:
        step = "Check key_passphrase_file in simpul.toml."
        raise Refused(
            "configuration", f"the passphrase file {path} cannot be read: {error.strerror}", members={"next": step}
        ) from None
    if mode & 0o077:
        detail = f"others may read the passphrase file {path} (mode {stat.S_IMODE(mode):04o})"
        raise Refused("unsafe-key-file", detail, members={"next": f"chmod 600 {path}"})
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Refused("configuration", f"the passphrase file {path} is not UTF-8 text") from None
