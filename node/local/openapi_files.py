"""The calls for files in the intake's OpenAPI document (node/local/http_files.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from node.files.media import TYPES
from node.local.http_files import BYTES, FILE_HEADER
from node.local.http_problems import TUS

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_STATE: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/UploadState"}}}
_RESUMABLE: Final = {"name": "Tus-Resumable", "in": "header", "required": True, "schema": {"const": TUS}}
_UPLOAD: Final = {
    "name": "upload",
    "in": "path",
    "required": True,
    "schema": _TEXT,
    "description": "The last part of the Location that the upload was given.",
}
_COMPLAINT: Final = {"name": "complaint", "in": "path", "required": True, "schema": _TEXT}
_FILE: Final = {"name": "file", "in": "path", "required": True, "schema": _TEXT, "description": "SHA-256, base64url"}
_METADATA: Final = {
    "name": "Upload-Metadata",
    "in": "header",
    "required": False,
    "schema": _TEXT,
    "description": "Pairs of a key and base64 (tus): `filetype` is the media type, `sha256` the SHA-256 of the whole in"
    " base64url. Both are checked when all of it is here. Other keys are not kept.",
}
_HEADERS: Final = {
    "Upload-Offset": {"description": "how many bytes are here", "schema": _COUNT},
    "Upload-Length": {"description": "how many it has", "schema": _COUNT},
    FILE_HEADER: {"description": "SHA-256 of what is kept, once all of it is here", "schema": _TEXT},
}

Problem = Callable[[int], dict[str, Any]]


def file_paths(problem: Problem) -> dict[str, Any]:
    """Paths with their operations; `problem` makes the answer for a status."""

    def call(
        operation: str, summary: str, good: dict[str, Any], parameters: list[Any], *problems: int, **more: Any
    ) -> dict[str, Any]:
        return {
            "operationId": operation,
            "tags": ["files"],
            "summary": summary,
            "parameters": parameters,
            "responses": good | {str(status): problem(status) for status in problems},
            **more,
        }

    return {
        "/v1/files": {
            "options": call("uploads", "What is spoken here (tus)", {"204": _empty("In headers")}, [], 401, 500, 503),
            "post": _begin(call),
        },
        "/v1/files/{upload}": {
            "get": call("readUpload", "How far an upload came", _state(200), [_UPLOAD], 401, 404, 500, 503, 507),
            "head": call(
                "askUpload",
                "The same in headers",
                {"200": _empty("In headers", _HEADERS)},
                [_UPLOAD, _RESUMABLE],
                *(401, 404, 412, 500, 503, 507),
            ),
            "patch": _go_on(call),
            "delete": call(
                "giveUpUpload",
                "Gives an upload up",
                {"204": _empty("Gone")},
                [_UPLOAD, _RESUMABLE],
                *(401, 404, 412, 500, 503),
            ),
        },
        "/v1/complaints/{complaint}/files/{file}": {"get": _of_complaint(call)},
    }


def _begin(call: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    length = {"name": "Upload-Length", "in": "header", "required": True, "schema": {"type": "integer", "minimum": 1}}
    good = _state(201)
    good["201"]["headers"] = {"Location": {"description": "where to send the bytes", "schema": _TEXT}}
    return call(
        "beginUpload",
        "Begin an upload",
        good,
        [_RESUMABLE, length, _METADATA],
        *(401, 412, 413, 422, 429, 500, 503, 507),
        description=f"tus {TUS}. Types that are taken: {', '.join(TYPES)}; they are told by the bytes. Where and with "
        "what a photograph or film was taken is left out of what is kept.",
    )


def _go_on(call: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    offset = {"name": "Upload-Offset", "in": "header", "required": True, "schema": _COUNT}
    return call(
        "continueUpload",
        "Send bytes from an offset on",
        {"204": _empty("They are here", _HEADERS)},
        [_UPLOAD, _RESUMABLE, offset],
        *(401, 404, 408, 409, 412, 413, 415, 422, 500, 503, 507),
        description=f"After a cut, ask (HEAD) and go on from there. The last bytes are answered with {FILE_HEADER}: "
        "name that in an `attached` change.",
        requestBody={"required": True, "content": {BYTES: {}}},
    )


def _of_complaint(call: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    whole = {"description": "The file, as an attachment", "content": {name: {} for name in TYPES}}
    part = {"description": "The part that Range asks for", "content": {name: {} for name in TYPES}}
    return call(
        "readFile",
        "A file of a complaint",
        {"200": whole, "206": part, "416": {"description": "No such part"}},
        [_COMPLAINT, _FILE],
        *(401, 404, 422, 500, 503, 507),
        description="What is not here is fetched from the hub first.",
    )


def _state(status: int) -> dict[str, Any]:
    return {str(status): {"description": "The upload", "content": _STATE, "headers": _HEADERS}}


def _empty(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "headers": headers or {}}
