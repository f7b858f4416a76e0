"""The front desk: a request's bytes become a call to the service, and its outcome becomes the response's bytes."""

from typing import TYPE_CHECKING

from amply.broker.service import dispatch
from amply.broker.wire import protocols

if TYPE_CHECKING:
    from collections.abc import Callable

    from amply.broker.server.gate import Gate
    from amply.broker.server.hall import Cancel, Respond
    from amply.broker.service.service import Outcome, Service
    from amply.broker.wire.http import Request


class Front:
    """A `Handler` that speaks SQS. Queue URLs are made from the scheme and the host that each caller used.

    With a gate, callers are who their keys are. Without one anybody is let in: whoever has no 12-digit access key
    belongs to `default_account`.
    """

    def __init__(
        self,
        service: "Service",
        *,
        default_account: str,
        new_request_id: "Callable[[], str]",
        scheme: str = "http",
        gate: "Gate | None" = None,
    ) -> None:
        self._service = service
        self._default_account = default_account
        self._new_request_id = new_request_id
        self._scheme = scheme
        self._gate = gate

    def __call__(self, request: "Request", respond: "Respond") -> "Cancel | None":
        exchange = protocols.read(
            request,
            default_account=self._default_account,
            base_url=None,
            request_id=self._new_request_id(),
            scheme=self._scheme,
        )
        if self._gate is not None:
            exchange = self._gate.check(request, exchange)
        if exchange.call is None:
            respond(protocols.write(exchange, exchange.fault))
            return None

        def answer(outcome: "Outcome") -> bool:
            return respond(protocols.write(exchange, outcome))

        return dispatch.submit(self._service, exchange.call, answer)
