"""The limits that the project sets itself: sizes, reasons, and what must never be committed.

Each test names every place that is over the limit, so that one run shows the whole work.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("node", "keys", "sync_protocol")
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 400
ADR_LINES_MAX = 60
NOT_OURS = {".git", ".venv", "__pycache__", "dist", "build", "demo-data", "node_modules"}

# A letter in brackets keeps each pattern from finding itself.
KEY_MATERIAL = re.compile(r"BEGIN (?:[A-Z]+ )?PRIVATE [K]EY-|[P]RIVATE\+KEY\+")
REGISTRIES = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]org|deb[.]debian[.]org|crates[.]io/|proxy[.]golang[.]org"
)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|farm|root|Users|home/[a-z]\w*|tmp/bash_jobs|var/folders)[/]")
LEFTOVERS = re.compile(
    r"\bNotImplemented[E]rror\b|raise NotImplemente[d]\b|\bassert Tru[e]\b|#\s*(?:[T]ODO|[F]IXME|[X]XX|[H]ACK)\b"
)
MAY_SKIP = {"tests/edge/kannel.py", "tests/edge/disks.py"}  # where there is no apt-get, or nobody may mount
AVOIDED_TESTS = re.compile(r"pytest[.](?:skip|xfail|importorskip)|mark[.](?:skip|xfail)|unittest[.]mock")
LIMIT_NAME = re.compile(r"_?[A-Z0-9_]*_MAX(_[A-Z]+)*")


@lru_cache(maxsize=1)
def texts() -> dict[str, str]:
    """Every text file of the project by its path from the root."""
    found = {}
    for path in sorted(ROOT.rglob("*")):
        inner = path.relative_to(ROOT)
        if any(part in NOT_OURS or part.endswith(("_cache", ".egg-info")) for part in inner.parts):
            continue
        if inner.parts[0].startswith(".") and inner.parts[0] not in (".ci", ".gitignore"):
            continue
        if not path.is_file():
            continue
        try:
            found[inner.as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def modules(*folders: str) -> Iterator[tuple[str, str]]:
    for name, text in texts().items():
        if name.endswith(".py") and name.split("/", maxsplit=1)[0] in folders:
            yield name, text


def places(pattern: re.Pattern[str], names: Iterator[tuple[str, str]]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in names
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_file_of_the_program_is_longer_than_400_lines() -> None:
    sizes = {name: len(text.splitlines()) for name, text in modules(*PACKAGES)}
    assert sizes
    assert {name: lines for name, lines in sizes.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_of_the_program_is_longer_than_60_lines() -> None:
    tall = []
    for name, text in modules(*PACKAGES):
        for found in ast.walk(ast.parse(text)):
            if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (found.end_lineno or found.lineno) - found.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    tall.append(f"{name}:{found.lineno} {found.name} ({lines})")
    assert tall == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        name for name, text in modules(*PACKAGES, "tests") if text.strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_every_limit_has_a_reason_beside_it_or_above_it() -> None:
    without = []
    for name, text in modules(*PACKAGES):
        reasons = {token.start[0] for token in _tokens(text) if token.type == tokenize.COMMENT}
        for node in ast.parse(text).body:
            for limit in _limits_assigned(node, everything=name == "sync_protocol/limits.py"):
                if not reasons & {node.lineno - 1, *range(node.lineno, (node.end_lineno or node.lineno) + 1)}:
                    without.append(f"{name}:{node.lineno} {limit}")
    assert without == []


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(text).readline)


def _limits_assigned(node: ast.stmt, *, everything: bool) -> list[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if everything or LIMIT_NAME.fullmatch(name)]


def test_no_key_material_is_in_the_repository() -> None:
    assert places(KEY_MATERIAL, iter(texts().items())) == []


def test_no_path_of_one_machine_is_in_the_repository() -> None:
    assert places(MACHINE_PATHS, iter(texts().items())) == []


def test_no_registry_is_named_in_the_repository() -> None:
    assert places(REGISTRIES, iter(texts().items())) == []


def test_nothing_is_left_for_later_in_the_code() -> None:
    assert places(LEFTOVERS, modules(*PACKAGES, "tests")) == []


def test_no_test_is_switched_off_or_patches_what_it_tests() -> None:
    found = places(AVOIDED_TESTS, modules("tests"))
    # What needs root, a kernel that allows it, or a program that is not there says so where it cannot be had.
    assert [place for place in found if place.partition(":")[0] not in MAY_SKIP] == []


def test_every_section_of_the_protocol_that_the_code_cites_exists() -> None:
    headings = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\b", texts()["docs/protocol.md"], flags=re.MULTILINE))
    cited = re.compile(r"[Pp]rotocol(?:\.md)? §(\d+(?:\.\d+)?)")
    unknown = [
        f"{name}: §{section}"
        for name, text in modules(*PACKAGES, "tests")
        for section in cited.findall(text)
        if section not in headings
    ]
    assert unknown == []


@pytest.mark.parametrize(
    "name",
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "docs/operations.md"],
)
def test_the_papers_of_the_project_are_there(name: str) -> None:
    assert len(texts()[name].split()) > 100


def test_the_readme_shows_the_two_commands() -> None:
    for command in ("make demo", "make test"):
        assert command in texts()["README.md"]


def test_links_between_the_papers_lead_somewhere() -> None:
    broken = []
    for name, text in texts().items():
        if name.endswith(".md"):
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
                if "://" not in target and not (ROOT / name).parent.joinpath(target).exists():
                    broken.append(f"{name}: {target}")
    assert broken == []


def test_decisions_are_numbered_without_gap_and_at_most_60_lines_long() -> None:
    records = [name for name in texts() if re.fullmatch(r"docs/adr/\d{4}-[a-z0-9-]+\.md", name)]
    assert [int(name.split("/")[2][:4]) for name in records] == list(range(1, len(records) + 1))
    assert {name: lines for name in records if (lines := len(texts()[name].splitlines())) > ADR_LINES_MAX} == {}


def test_every_package_in_the_lock_is_pinned_by_version_and_hash_and_none_by_an_address() -> None:
    lock = texts()["requirements.lock"]
    pin = r"^[a-z0-9][a-z0-9._-]*(?:\[[a-z,]+\])?==\S+(?: ; [^\\\n]+)? \\\n"
    wanted = re.compile(pin + r"(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", re.MULTILINE)
    packages = re.findall(r"(?m)^[^\s#].*$", lock)
    assert len(wanted.findall(lock)) == len(packages) > 50
    assert "://" not in lock
    assert not re.search(r"(?m)^\s*#.*[/~].*(?:/|\\)", lock)


def test_every_dependency_of_the_project_is_in_the_lock() -> None:
    project = tomllib.loads(texts()["pyproject.toml"])["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    wanted = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace(".", "-") for line in lines}
    locked = re.findall(r"^([a-z0-9][a-z0-9._-]*)", texts()["requirements.lock"], re.MULTILINE)
    assert wanted - {name.replace(".", "-") for name in locked} == set()
