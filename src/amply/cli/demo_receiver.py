"""The demonstration's webhook receiver: checks every signature, and fails now and then as receivers do."""

import hmac
import random
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from amply.clock import wall_ms
from amply.jobs.signatures import headers

# Standard Webhooks 1.0.0, "Verifying webhook authenticity": a receiver refuses timestamps further away than this.
TIMESTAMP_TOLERANCE_S = 300

# Of a thousand attempts, so many get no good answer. The sender gives up on a silent receiver after 20 s.
_ERRORS_IN_1000 = 60
_BUSY_IN_1000 = 20
_SILENT_IN_1000 = 1
_SILENT_S = 22.0

_BODY_BYTES_MAX = 1024 * 1024


def is_authentic(secret: str, received: Mapping[str, str], body: bytes, now_s: int) -> bool:
    """Whether the body carries this secret's signature and a timestamp of now."""
    message_id, timestamp = received.get("webhook-id", ""), received.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now_s - int(timestamp[:15])) > TIMESTAMP_TOLERANCE_S:
        return False
    expected = headers([secret], message_id, int(timestamp), body)["webhook-signature"].encode()
    signatures = received.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


class Receiver(ThreadingHTTPServer):
    """Listens on a free port of this machine. `secrets` are by path; set them before the first webhook comes."""

    daemon_threads = True

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secrets: dict[str, str] = {}
        self._chance = random.Random(seed)  # noqa: S311 - a story, not a secret
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.server_port}"

    def draw(self) -> int:
        """A number from 0 to 999 that decides how an attempt fares."""
        with self._lock:
            return self._chance.randrange(1000)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = 30

    def do_POST(self) -> None:
        size_bytes = int(self.headers.get("Content-Length", "0"))
        if size_bytes > _BODY_BYTES_MAX:
            self._answer(413)
            return
        body = self.rfile.read(size_bytes)
        secret = self.server.secrets.get(self.path)
        received = {name.lower(): value for name, value in self.headers.items()}
        if secret is None or not is_authentic(secret, received, body, wall_ms() // 1000):
            self._answer(401)
            return
        drawn = self.server.draw()
        if drawn < _SILENT_IN_1000:
            time.sleep(_SILENT_S)
            self._answer(200)
        elif drawn < _SILENT_IN_1000 + _BUSY_IN_1000:
            self._answer(503)
        elif drawn < _SILENT_IN_1000 + _BUSY_IN_1000 + _ERRORS_IN_1000:
            self._answer(500)
        else:
            self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        print(format % args, flush=True)  # noqa: T201 - this process's log
