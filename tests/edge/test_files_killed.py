"""Files in real processes that are killed in the middle, or whose disk is full (protocol §13)."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sync_protocol.values import b64u_encode
from tests.edge.file_samples import big_jpeg, pdf
from tests.edge.program import Server, told, wait_for
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, post_json, serving_hub

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}
DISK_FULL_BYTES = 700_000  # no file of the process may grow beyond


class Client:
    """A client of a node that speaks tus."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.auth = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        connection.request(method, path, body, {**self.auth, **headers})
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read()
        connection.close()
        return found

    def begin(self, length: int) -> str:
        status, headers, body = self.call("POST", "/v1/files", None, **{**TUS, "Upload-Length": str(length)})
        assert status == 201, body
        return str(headers["Location"])

    def offset(self, place: str) -> int:
        status, headers, _ = self.call("HEAD", place, None, **TUS)
        assert status == 200
        return int(headers["Upload-Offset"])

    def send(self, place: str, offset: int, data: bytes) -> tuple[int, Any, bytes]:
        return self.call("PATCH", place, data, **{**BYTES, "Upload-Offset": str(offset)})

    def begin_to_send(self, place: str, data: bytes, sent: int) -> socket.socket:
        """A PATCH that hangs after so many bytes."""
        line = socket.create_connection(("127.0.0.1", self.server.port), timeout=30)
        headers = {**self.auth, **BYTES, "Upload-Offset": "0", "Content-Length": str(len(data)), "Host": "node"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        line.sendall(f"PATCH {place} HTTP/1.1\r\n{head}\r\n".encode() + data[:sent])
        return line

    def finish(self, place: str, data: bytes) -> str:
        here = self.offset(place)
        status, headers, body = self.send(place, here, data[here:])
        assert status == 204, body
        return str(headers["Simpul-File"])


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubDirectory]:
    with serving_hub(tmp_path_factory.mktemp("files")) as served:
        yield served


@pytest.fixture
def node(hub: HubDirectory, tmp_path: Path) -> NodeDirectory:
    made = NodeDirectory(tmp_path / "node", {"test_a_node": "64.72", "test_a_disk": "35.71"}[tmp_path.name[:11]])
    made.enrol(hub)
    return made


@pytest.mark.slow
def test_a_node_killed_in_the_middle_of_an_upload_goes_on_and_a_killed_hub_gets_the_file(
    hub: HubDirectory, node: NodeDirectory
) -> None:
    token = told("node", "token", "create", node.directory, "web")["token"]
    data = big_jpeg(900_000)
    client = Client(node.serve(), token)
    try:
        place = client.begin(len(data))
        line = client.begin_to_send(place, data, 600_000)
        wait_for("bytes on the disk", lambda: client.offset(place) >= 256 * 1024)
        client.server.kill()
        line.close()
        client.server = node.serve()
        here = client.offset(place)
        assert 256 * 1024 <= here <= 600_000
        file = client.finish(place, data)

        assert hub.server is not None
        hub.server.kill()
        url = client.server.url
        complaint = post_json(f"{url}/v1/complaints", {"channel": "web", "text": "Jalan rusak."}, token)["complaint"]
        size = json.loads(client.call("GET", place)[2])["bytes"]
        said = {"type": "attached", "file": file, "bytes": size, "media_type": "image/jpeg"}
        post_json(f"{url}/v1/complaints/{complaint}/changes", said, token)
        assert not (hub.directory / "files" / "incoming").exists()
        hub.restart()
        wait_for("the file at the hub", lambda: names_of(hub.directory))
        (name,) = names_of(hub.directory)
        kept = client.call("GET", f"/v1/complaints/{complaint}/files/{file}")[2]
        assert b64u_encode(bytes.fromhex(name)) == file == b64u_encode(sha256(kept).digest())
    finally:
        end(client.server)


@pytest.mark.slow
def test_a_disk_that_fills_up_in_the_middle_is_said_so_and_the_upload_goes_on_when_there_is_room(
    node: NodeDirectory,
) -> None:
    from tests.edge.program import start

    token = told("node", "token", "create", node.directory, "web")["token"]
    data = pdf(inside=bytes(range(256)) * 4_000)
    server = start("node", "serve", node.directory, "--port", "0", file_size_max=DISK_FULL_BYTES)
    client = Client(server, token)
    try:
        place = client.begin(len(data))
        status, _, body = client.send(place, 0, data)
        assert (status, json.loads(body)["type"]) == (507, "urn:simpul:problem:files-full")
        assert 0 < client.offset(place) <= DISK_FULL_BYTES
        assert names_of(node.directory) == []
        assert client.server.stop() == 0
        client.server = node.serve()
        assert client.finish(place, data) == b64u_encode(sha256(data).digest())
        assert len(names_of(node.directory)) == 1
    finally:
        end(client.server)


def names_of(directory: Path) -> list[str]:
    """Of the whole files in a directory of hub or node."""
    return [path.name for path in (directory / "files").glob("??/??/*") if len(path.name) == 64]
