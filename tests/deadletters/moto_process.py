"""Moto's server as a process, at the port that is its argument (0: a free one): SQS that is not ours.

It says where it is in its first line, and keeps quiet from then on.
"""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sqs.exceptions import MissingParameter
from moto.sqs.models import SQSBackend
from werkzeug.serving import make_server

_validate = SQSBackend._validate_message
_moto = DomainDispatcherApplication(create_backend_app)
# Moto reads the service and the region out of the signature.
_SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=any/20260101/eu-central-1/sqs/aws4_request, SignedHeaders=host, Signature=none"
)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Moto, which takes requests that are not signed as well."""
    environ.setdefault("HTTP_AUTHORIZATION", _SIGNATURE)
    answer: Iterable[bytes] = _moto(environ, start_response)
    return answer


def validate(backend: SQSBackend, queue: Any, message_body: str, *others: Any, **more: Any) -> None:
    """Moto's own check of a message, and that it has a body, as SQS wants it to (SQS API Reference, SendMessage)."""
    if not message_body:
        raise MissingParameter("MessageBody")
    _validate(backend, queue, message_body, *others, **more)


def main(port: int) -> None:
    """Serve until killed."""
    # Moto answers each request in a thread, and its queues are lists that no lock keeps: two deletes at once bring a
    # deleted message back. A thread that is only interrupted where it waits is alone with them.
    sys.setswitchinterval(3600)
    SQSBackend._validate_message = validate
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", port, application, threaded=True)
    sys.stdout.write(f"SQS endpoint http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
