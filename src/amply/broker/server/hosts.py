"""Which names an open broker answers to: those of this machine, and those that were allowed.

A web page may make a name of its own lead to this machine (DNS rebinding), and its visitors' browsers then call the
broker as if it were the page's server. They cannot hide the name: it is in the Host header. Knows names, not requests.
"""

from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from amply.broker.server.answer import refusal
from amply.broker.server.hall import Cancel, Handler, Respond
from amply.broker.wire.http import Request

_REMEMBERED_MAX: Final = 256
_SHOWN_LENGTH_MAX: Final = 100


class HostCheck:
    """A `Handler` before another one, which gets the requests to loopback addresses, `localhost` and `allowed` names.

    A request without a Host header, which only HTTP/1.0 may send, is no browser's.
    """

    def __init__(self, handler: Handler, allowed: Iterable[str]) -> None:
        self._handler = handler
        self._allowed = {name.lower() for name in allowed}
        self._passed: set[bytes | None] = {None}

    def __call__(self, request: Request, respond: Respond) -> Cancel | None:
        host = request.headers.get(b"host")
        if host not in self._passed and not self._passes(host or b""):
            shown = (host or b"").decode("latin-1")[:_SHOWN_LENGTH_MAX]
            message = (
                f"This broker takes requests from anybody on its machine, so it does not answer to the name {shown}, "
                "which may be a stranger's. If it is yours, start the broker with --allow-host."
            )
            respond(refusal(HTTPStatus.MISDIRECTED_REQUEST, "MisdirectedRequest", message))
            return None
        return self._handler(request, respond)

    def _passes(self, host: bytes) -> bool:
        name = _without_port(host.decode("latin-1")).lower()
        if name not in self._allowed and not is_loopback(name):
            return False
        if len(self._passed) < _REMEMBERED_MAX:
            self._passed.add(host)
        return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


def is_loopback(name: str) -> bool:
    """Whether an address, or the name `localhost`, is this machine's and no other's."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
