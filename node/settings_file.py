"""`DIR/simpul.toml`: read with plain words for everything that can be wrong in it, written once at init.

Everything here raises Refused(configuration) with the file, the setting and the next step.
"""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, overload

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from node.settings import ENVIRONMENT_PREFIX, SETTINGS_FILE, HubSettings, NodeSettings
from sync_protocol.errors import Refused

SETTINGS_MAX_BYTES: Final = 65_536  # a page of settings; a larger file is something else
OTHER_ENVIRONMENT: Final = frozenset({"SIMPUL_AUDIT_TOKEN", "SIMPUL_BACKUP_PASSPHRASE"})  # of commands, no settings
_NOT_IN_FILE: Final = frozenset({"directory", "key_passphrase"})

Settings = HubSettings | NodeSettings
Model = TypeVar("Model", bound=HubSettings | NodeSettings)


@overload
def load_settings(directory: Path) -> HubSettings | NodeSettings: ...
@overload
def load_settings(directory: Path, model: type[Model]) -> Model: ...
def load_settings(directory: Path, model: type[Model] | None = None) -> Settings:
    """The settings of DIR; of whatever role it has, or of the one that the caller needs.

    Raises Refused(configuration): no file, not TOML, an unknown or wrong setting, another role.
    """
    path = directory / SETTINGS_FILE
    values = _read_toml(path)
    role = values.get("role")
    if role not in ("hub", "node"):
        _wrong(f'{path} says neither role = "hub" nor role = "node"', "Correct its line `role = …`.")
    found: type[Settings] = HubSettings if role == "hub" else NodeSettings
    if model is not None and found is not model:
        _wrong(f"{directory} is the directory of a {role}", f"Use `simpul {role} …`, or name another directory.")
    _check_names(values, found, path)
    return make_settings(found, {**values, "directory": directory}, path)


def make_settings(model: type[Model], values: Mapping[str, Any], path: Path | None = None) -> Model:
    """Settings from values, checked, the environment laid over them. Raises Refused(configuration)."""
    check_environment()
    try:
        return model(**values)
    except ValidationError as error:
        _explain(error.errors(include_url=False)[0], path)


def amend_settings(
    directory: Path, model: type[Model], changes: Mapping[str, Any], *, final: Collection[str] = ()
) -> Model:
    """What an operator wrote into DIR before (if anything) with `changes` laid over it.

    Raises Refused(configuration) if the file says something else of a `final` setting, or is of another role.
    """
    path = directory / SETTINGS_FILE
    stored = _read_toml(path) if path.exists() else {}
    role = model.model_fields["role"].default
    if stored.get("role", role) != role:
        _wrong(f"{directory} is the directory of a {stored['role']}", "Name another directory.")
    _check_names(stored, HubSettings if role == "hub" else NodeSettings, path)
    for name in final:
        if name in stored and name in changes and stored[name] != changes[name]:
            said = "another" if name.endswith("_url") else f"= {stored[name]!r}"  # a URL may hold a password
            detail = f"{path} says {name} {said}, and that is final"
            _wrong(detail, "Name another directory, or leave it as it is.")
    return make_settings(model, {**stored, **changes, "directory": directory}, path)


def check_environment(environment: Mapping[str, str] | None = None) -> None:
    """Every `SIMPUL_…` must be a setting of the hub or of a node. Raises Refused(configuration)."""
    names = {ENVIRONMENT_PREFIX + name.upper() for model in (HubSettings, NodeSettings) for name in model.model_fields}
    names -= {ENVIRONMENT_PREFIX + "DIRECTORY", ENVIRONMENT_PREFIX + "ROLE"}
    for name in os.environ if environment is None else environment:
        upper = name.upper()
        if upper.startswith(ENVIRONMENT_PREFIX) and upper not in names | OTHER_ENVIRONMENT:
            _wrong(f"unknown setting {name} in the environment", _nearest(upper, sorted(names)))


def write_settings(settings: Settings, *, replace: bool = False) -> Path:
    """Write `DIR/simpul.toml` (0600: a database URL may hold a password), atomically; DIR must exist.

    A file that is there already is left alone if it says the same. Refused(configuration) if it says something else,
    unless `replace`: what an operator wrote by hand is not lost silently.
    """
    path = settings.directory / SETTINGS_FILE
    if path.exists() and not replace:
        if _read_toml(path) == stored_values(settings):
            return path
        _wrong(f"{path} is there already and says something else", "Change it by hand, or choose another directory.")
    fresh = path.with_name(f".{SETTINGS_FILE}.{secrets.token_hex(8)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(format_settings(settings))
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def stored_values(settings: Settings) -> dict[str, Any]:
    """What the file holds: role and every value that is not the default, in TOML's types."""
    dumped = settings.model_dump(mode="json", exclude_defaults=True, exclude=set(_NOT_IN_FILE))
    return {"role": settings.role, **{name: value for name, value in dumped.items() if value is not None}}


def format_settings(settings: Settings) -> str:
    """The file's text: what was decided, then everything else as a comment with its default."""
    stored = stored_values(settings)
    blocks = []
    for name, field in _fields_of(type(settings)).items():
        comment = f"# {field.description}\n" if field.description else ""
        if name in stored:
            blocks.append(f"{comment}{name} = {_toml(stored[name])}\n")
        else:
            blocks.append(f"{comment}# {name} = {_default(field)}\n")
    head = "# Settings of this directory. A line that begins with # is a comment and shows the default.\n"
    return "\n".join([head, *blocks])


def _fields_of(model: type[Settings]) -> dict[str, FieldInfo]:
    """The settings of the file: its role and what has no default first."""
    named = {name: field for name, field in model.model_fields.items() if name not in _NOT_IN_FILE}
    return dict(sorted(named.items(), key=lambda item: (item[0] != "role", not item[1].is_required())))


def _default(field: FieldInfo) -> str:
    if field.default is None or field.default is PydanticUndefined:
        return '""'
    return _toml(str(field.default) if isinstance(field.default, Path) else field.default)


def _toml(value: str | float | bool) -> str:
    """JSON's strings, numbers and booleans are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(SETTINGS_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if (path.parent / "keys").is_dir() and (path.parent / NodeSettings.DATABASE_FILE).is_file():
            step = f"Repeat it: simpul node enrol {path.parent} …, also with the same token: the same keys are used."
            _wrong(f"the enrolment of {path.parent} was not completed, or its {SETTINGS_FILE} was lost", step)
        step = "Create it with `simpul hub init` or `simpul node enrol`, or name another directory."
        _wrong(f"{path.parent} is no directory of a hub or a node: it has no {SETTINGS_FILE}", step)
    except OSError as error:
        _wrong(f"{path} cannot be read: {error.strerror}", "Check its permissions.")
    if len(data) > SETTINGS_MAX_BYTES:
        _wrong(f"{path} is over {SETTINGS_MAX_BYTES} bytes", "Restore it from a backup; settings are a page long.")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # tomllib lets a number of 5,000 digits and deep nesting out as such
        _wrong(f"{path} is not TOML: {error}", "Correct that place: text stands in quotes, true and false do not.")


def _check_names(values: Mapping[str, Any], model: type[Settings], path: Path) -> None:
    known = list(_fields_of(model))
    if "key_passphrase" in values:
        step = "Take it out; use key_passphrase_file, or SIMPUL_KEY_PASSPHRASE in the environment."
        _wrong(f"a passphrase does not belong into {path}", step)
    for name in values:
        if name not in known:
            _wrong(f"unknown setting {name} in {path}", _nearest(name, known))


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"Did you mean {near[0]}? Otherwise take it out." if near else f"Take it out. Known: {', '.join(known)}."


def _explain(found: ErrorDetails, path: Path | None) -> NoReturn:
    """One of pydantic's findings as a sentence. The value is not repeated: it may hold a password."""
    name = str(found["loc"][0]) if found["loc"] else ""
    words = str(found["msg"]).removeprefix("Value error, ")
    variable = ENVIRONMENT_PREFIX + name.upper()
    place = variable if variable in {key.upper() for key in os.environ} else str(path or "the settings")
    if found["type"] == "missing":
        _wrong(f"the setting {name} is missing in {place}", f"Add a line `{name} = …`.")
    about = f"the setting {name} in {place} is wrong: {words}" if name else f"{place}: {words}"
    _wrong(about, f"Correct {name or 'them'} in {place}.")


def _wrong(detail: str, next_step: str) -> NoReturn:
    raise Refused("configuration", detail, members={"next": next_step})
