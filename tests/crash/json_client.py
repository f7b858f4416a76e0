"""SQS's AWS JSON protocol over one kept-open connection, as bare as it can be: speed, and every byte under control."""

import json
import socket
from typing import Any, Self

# Longer than the longest poll: a broker that is alive answers before.
TIMEOUT_S = 30.0


class RefusedError(Exception):
    """The broker answered with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


class JsonClient:
    """OSError from `call` means: nobody knows whether the request was carried out."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, action: str, **members: Any) -> dict[str, Any]:
        """One request and its answer; the members are SQS's own."""
        self.ask(action, **members)
        return self.answer()

    def ask(self, action: str, **members: Any) -> None:
        """Only the request."""
        body = json.dumps(members).encode()
        head = (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.0\r\n"
            f"X-Amz-Target: AmazonSQS.{action}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body)

    def answer(self) -> dict[str, Any]:
        """The answer to a request made before."""
        status_line = self._answers.readline()
        if not status_line.endswith(b"\n"):
            raise ConnectionResetError("the broker hung up")
        size = 0
        while (line := self._answers.readline()) != b"\r\n":
            if not line.endswith(b"\n"):
                raise ConnectionResetError("the broker hung up within an answer")
            if line.lower().startswith(b"content-length:"):
                size = int(line.partition(b":")[2])
        body = self._answers.read(size)
        if len(body) < size:
            raise ConnectionResetError("the broker hung up within an answer")
        status = int(status_line.split()[1])
        answer: dict[str, Any] = json.loads(body) if body else {}
        if status != 200:
            raise RefusedError(status, answer.get("__type", ""), answer.get("message", ""))
        return answer

    def close(self) -> None:
        """Hang up (FIN)."""
        self._answers.close()
        self.socket.close()

    def reset(self) -> None:
        """Hang up without a farewell (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()
