"""The side door: is the broker alive, and does it take work.

`GET /health` and `GET /ready` are answered here; every other request goes on to the handler behind. Knows what a
probe asks, not how the broker is: that is handed in.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from amply.broker.server.hall import Cancel, Handler, Respond
from amply.broker.wire.http import Request, Response

_NO_STORE: Final = ((b"cache-control", b"no-store"),)


class SideDoor:
    """A `Handler` in front of another one.

    `status` gives what `/ready` shows. Its member `reasons`, a list of sentences, says why no work is taken: empty or
    absent, the answer is 200, else 503.
    """

    def __init__(self, handler: Handler, status: Callable[[], dict[str, object]]) -> None:
        self._handler = handler
        self._status = status

    def __call__(self, request: Request, respond: Respond) -> Cancel | None:
        if request.method == "GET":
            path = request.target.partition("?")[0]
            if path == "/health":
                respond(_json(200, {"status": "alive"}))
                return None
            if path == "/ready":
                respond(self._readiness())
                return None
        return self._handler(request, respond)

    def _readiness(self) -> Response:
        status = self._status()
        if status.get("reasons"):
            return _json(503, {"status": "not ready", **status})
        return _json(200, {"status": "ready", **status})


def _json(status: int, content: dict[str, object]) -> Response:
    return Response(status, b"application/json", msgspec.json.encode(content), _NO_STORE)
