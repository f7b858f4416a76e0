"""Reading and verifying signatures, fuzzed: what passes is what was signed, and nothing else happens but a refusal.

The key is only of this page. An input is the request as text: the method and the target, headers, an empty line, the
body.
"""

from amply.broker.sqs.faults import Fault
from amply.broker.wire.http import Request
from amply.broker.wire.signature import read_signature, verify

ACCESS_KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "eu-central-1"
SIGNED_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
BODY = b'{"QueueName":"work"}'
TARGET = b"AmazonSQS.CreateQueue"
PRESIGNED_ACTION = "Action=ListQueues"


def read_request(data: bytes) -> Request:
    """A request with any method, target, headers and body."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.decode("latin-1").partition(" ")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        key = name.strip().lower()
        headers[key] = headers[key] + b"," + value.strip() if key in headers else value.strip()
    return Request(method, target, headers, body)


def signature(data: bytes) -> None:
    """Read and verify; a request that passes must be one of those that were signed."""
    request = read_request(data)
    try:
        found = read_signature(request)
        secret = SECRET if found.access_key == ACCESS_KEY else None
        verify(request, found, secret, region=REGION, service="sqs", now_ms=SIGNED_MS)
    except Fault as fault:
        if not fault.row.is_sender:
            raise RuntimeError(f"{request} is no failure of ours") from fault
        return
    if found.expires_s is None:
        is_signed = (request.method, request.body, request.headers.get(b"x-amz-target")) == ("POST", BODY, TARGET)
    else:
        is_signed = request.method == "GET" and not request.body and PRESIGNED_ACTION in request.target
    if not is_signed:
        raise RuntimeError(f"{request} was not signed, and passes")
