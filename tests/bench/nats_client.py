"""As much of the NATS client protocol as the peer needs: publish with headers, subscribe, request; over asyncio.

One connection, no reconnecting: where the server goes away, everything that waits fails.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from node.system import SystemRandomness

ANSWER_LIMIT_S: Final = 20.0
BUFFER_BYTES: Final = 4 << 20  # a line of the protocol is short; what is read at once is not
HEADERS: Final = b"NATS/1.0\r\n"

T = TypeVar("T")
Handler = Callable[[bytes, bytes, bytes], None]  # reply subject, headers, payload


class NatsConnection:
    """A connection that has said CONNECT. Use `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._handlers: dict[bytes, Handler] = {}
        self.inbox = f"_INBOX.{SystemRandomness().bytes(8).hex()}"
        self.written = 0
        self._serving = asyncio.create_task(self._serve())

    async def expect(self, answer: asyncio.Future[T]) -> T:
        """The answer, or whatever broke the connection meanwhile. Raises TimeoutError, RuntimeError."""
        either: set[asyncio.Future[Any]] = {answer, self._serving}
        await asyncio.wait(either, timeout=ANSWER_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if self._serving.done():
            self._serving.result()
        raise TimeoutError("no answer from the NATS server")

    async def close(self) -> None:
        """At once."""
        self._serving.cancel()
        await asyncio.wait({self._serving})
        self._writer.close()

    async def _serve(self) -> None:
        """Hands messages to their handlers until the server hangs up."""
        while line := await self._reader.readline():
            verb, *words = line.split()
            if verb in (b"MSG", b"HMSG"):
                body = (await self._reader.readexactly(int(words[-1]) + 2))[:-2]
                cut = int(words[-2]) if verb == b"HMSG" else 0
                reply = words[2] if len(words) == (5 if verb == b"HMSG" else 4) else b""
                self._handlers[words[1]](reply, body[:cut], body[cut:])
            elif verb == b"PING":
                self._writer.write(b"PONG\r\n")
            elif verb == b"-ERR":
                raise RuntimeError(line.decode().strip())
        raise RuntimeError("the NATS server has hung up")

    def publish(self, subject: str, payload: bytes, *, reply: str = "", message_id: str = "") -> None:
        """Into the connection's buffer; `drain` waits while that is full."""
        if message_id:
            headers = HEADERS + f"Nats-Msg-Id: {message_id}\r\n\r\n".encode()
            line = f"HPUB {subject} {reply} {len(headers)} {len(headers) + len(payload)}\r\n".encode()
            message = line + headers + payload + b"\r\n"
        else:
            message = f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n"
        self.written += len(message)
        self._writer.write(message)

    async def drain(self) -> None:
        """Until there is room again."""
        await self._writer.drain()

    def subscribe(self, subject: str, handler: Handler) -> None:
        """Its messages go to the handler, in the task that serves."""
        number = str(len(self._handlers) + 1)
        self._handlers[number.encode()] = handler
        self._writer.write(f"SUB {subject} {number}\r\n".encode())

    async def request(self, subject: str, document: object) -> dict[str, Any]:
        """JetStream's answer to a JSON document. Raises RuntimeError with its error, TimeoutError."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        reply = f"{self.inbox}.request.{len(self._handlers)}"
        self.subscribe(reply, lambda _reply, _headers, payload: None if answer.done() else answer.set_result(payload))
        self.publish(subject, json.dumps(document).encode(), reply=reply)
        text = await self.expect(answer)
        said: dict[str, Any] = json.loads(text)
        if "error" in said:
            raise RuntimeError(f"{subject}: {said['error'].get('description', said['error'])}")
        return said


@asynccontextmanager
async def connect(host: str, port: int) -> AsyncIterator[NatsConnection]:
    """A connection, closed with the block."""
    reader, writer = await asyncio.open_connection(host, port, limit=BUFFER_BYTES)
    await reader.readline()  # INFO: what the server can do, and the bench's own server can do all of this
    options = {"verbose": False, "pedantic": False, "headers": True, "lang": "python", "version": "1"}
    writer.write(f"CONNECT {json.dumps(options)}\r\n".encode())
    connection = NatsConnection(reader, writer)
    try:
        yield connection
    finally:
        await connection.close()
