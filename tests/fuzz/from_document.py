"""Requests made from an OpenAPI document: what it allows, and what it nearly allows; and answers held against it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from jsonschema import Draft202012Validator

#: What texts are made of: some fits each pattern of our documents, and some fits none.
TEXTS = (
    "33.75", "35.71", "kementerian-panrb", "dinas-pu", "jalan.rusak", "2026-01-03T10:31:12.123Z", "33.75.01", "77",
    "PKL-0000-0000-0000-0", "33.75:01890a5d-ac96-774b-bcce-b302099a8057", "A" * 43, "0" * 64, "image/png", "agency",
    "agency,state,class", "applied", "received", "", " ", "x" * 300, "\x00", "é\u2028😀", "../..", "%2e%2e%2f",
    "{}", "null", "9" * 30, "-1", "0/000", "entries/000.p/4", "0/000.p/4", "'; --", "a\nb",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 50, 200, 201, 2**31, 2**53 - 1, 2**53, 2**63, 10**30)
STRANGE: Sequence[Any] = (
    None, True, 1.5, [], {}, "x", [[[[[[]]]]]], {"a": {"b": {"c": {"d": {"e": 1}}}}}, 2**70, "\ud800",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent. `body` is None where the call has none."""

    method: str
    path: str
    target: str
    body: bytes | None
    media_type: str | None


@dataclass(frozen=True)
class Document:
    """An OpenAPI document, and chance."""

    whole: Mapping[str, Any]
    chance: random.Random

    def operations(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Path, method in capitals, operation."""
        for path, item in self.whole["paths"].items():
            for method, operation in item.items():
                yield path, method.upper(), operation

    def request(self, path: str, method: str, operation: Mapping[str, Any]) -> Request:
        """A request of this call: names of the path, parameters, body."""
        target, query = path, []
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                text = self._text_of(parameter["schema"])
                safe = "/.:" if parameter["name"] == "path" else ".:"
                written = quote(text.encode("utf-8", "replace"), safe=safe)
                target = target.replace("{" + parameter["name"] + "}", written)
            elif parameter["in"] == "query" and (parameter.get("required") or self.chance.random() < 0.5):
                query += [(parameter["name"], self._text_of(parameter["schema"]))] * self.chance.choice((1, 1, 1, 2))
        body, media_type = self._body(operation)
        asked = "?" + urlencode(query, errors="replace") if query else ""
        return Request(method, path, target + asked, body, media_type)

    def check(self, operation: Mapping[str, Any], status: int, media_type: str, raw: bytes) -> Mapping[str, Any] | None:
        """That the answer is one that the document names, and of its form; a problem comes back."""
        documented = operation["responses"].get(str(status)) or operation["responses"].get("default")
        assert documented is not None, f"{status} is not documented"
        if "content" not in documented or not raw:  # headers alone
            return None
        named = {name.split(";")[0]: content for name, content in documented["content"].items()}
        kind = media_type.split(";", maxsplit=1)[0]
        assert kind in named, f"{status} comes as {kind}, documented are {sorted(named)}"
        schema = named[kind].get("schema")
        if not kind.endswith("json") or schema is None:
            return None
        value = json.loads(raw)
        validator = Draft202012Validator({**schema, "components": self.whole["components"]})
        assert [error.message for error in validator.iter_errors(value)] == []
        return value if kind == "application/problem+json" else None

    def _body(self, operation: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
        if "requestBody" not in operation:
            return None, None
        ((media_type, content),) = operation["requestBody"]["content"].items()
        if "schema" not in content:
            return self.chance.randbytes(self.chance.choice((0, 10, 300))), media_type
        value = self.value(content["schema"])
        return json.dumps(value).encode("utf-8", "surrogatepass"), media_type

    def _text_of(self, schema: Mapping[str, Any]) -> str:
        value = self.value(schema)
        return value if isinstance(value, str) else json.dumps(value)

    def value(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        """A value that the schema allows, or, now and then, one that it does not."""
        if self.chance.random() < 0.03:
            return self.chance.choice(STRANGE)
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), depth)
        if "anyOf" in schema:
            return self.value(self.chance.choice(schema["anyOf"]), depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.chance.choice([*schema["enum"]])
        return self._typed(schema, depth)

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                count = self.chance.choice((0, 1, 1, 2, schema.get("maxItems", 3) + 1))
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(count if depth < 5 else 0)]
            case "integer" | "number":
                return self.chance.choice((*NUMBERS, schema.get("minimum", 1), schema.get("maximum", 3)))
            case "boolean":
                return self.chance.random() < 0.5
            case "null":
                return None
            case "string":
                return self._text(schema)
            case _:
                return self.chance.choice((*STRANGE, *TEXTS[:10]))

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required, made = set(schema.get("required", ())), {}
        for name, inner in schema.get("properties", {}).items():
            if self.chance.random() < (0.98 if name in required else 0.4):
                made[name] = self.value(inner, depth + 1)
        if self.chance.random() < 0.05 or isinstance(schema.get("additionalProperties"), Mapping):
            made[self.chance.choice(TEXTS)] = self.value(schema.get("additionalProperties") or {}, depth + 1)
        return made

    def _text(self, schema: Mapping[str, Any]) -> str:
        pattern = schema.get("pattern")
        fitting = [text for text in TEXTS if pattern is None or re.search(pattern, text)]
        return self.chance.choice(fitting if fitting and self.chance.random() < 0.9 else TEXTS)

    def _resolve(self, reference: str) -> Mapping[str, Any]:
        found: Any = self.whole
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert isinstance(found, Mapping)
        return found
