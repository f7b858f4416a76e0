"""Receipt handles: what a receive gives out, and nobody else can make.

A handle carries what the engine needs to know, so it survives a restart without being stored. A look at a queue gives
handles too; a flag tells them from those of receives.
"""

import hashlib
import hmac
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from struct import Struct as Layout

from msgspec import Struct

from amply.broker.sqs.faults import receipt_handle_is_invalid

_LAYOUT = Layout(">IQIQ")
_PAYLOAD_LENGTH = 32  # characters: 24 bytes in base64, without a rest
_MAC_BYTES = 16
_HANDLE_LENGTH = 54  # and 22 for the MAC, its two padding characters left out
# No message was ever received so often. Handles of receives are what they were before there was the flag.
_PEEKED = 1 << 31
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


class Receipt(Struct, frozen=True, gc=False):
    """One delivery of one message: the `receive_count`-th, at `received_ms` epoch milliseconds.

    `is_peeked`: none, but a look at a message that had been received so often, at that moment.
    """

    queue_id: int
    seq: int
    receive_count: int
    received_ms: int
    is_peeked: bool = False


class Receipts:
    """Makes and reads handles with the broker's secret (1-64 bytes)."""

    def __init__(self, secret: bytes) -> None:
        self._mac = hashlib.blake2b(key=secret, digest_size=_MAC_BYTES, person=b"receipt handle")

    def issue(self, receipt: Receipt) -> str:
        """The handle for a delivery: 54 characters of the URL-safe base64 alphabet."""
        count = receipt.receive_count | _PEEKED if receipt.is_peeked else receipt.receive_count
        return self._handle(_LAYOUT.pack(receipt.queue_id, receipt.seq, count, receipt.received_ms)).decode()

    def read(self, handle: str) -> Receipt:
        """What a handle stands for; Fault ReceiptHandleIsInvalid unless `issue` made exactly this text."""
        if len(handle) != _HANDLE_LENGTH or not handle.isascii():
            raise receipt_handle_is_invalid(handle)
        given = handle.encode()
        try:
            payload = a2b_base64(given[:_PAYLOAD_LENGTH].translate(_FROM_URL))
        except Base64Error:
            raise receipt_handle_is_invalid(handle) from None
        # Comparing the whole text also refuses other spellings of the same bytes.
        if not hmac.compare_digest(self._handle(payload), given):
            raise receipt_handle_is_invalid(handle)
        queue_id, seq, count, received_ms = _LAYOUT.unpack(payload)
        if count < _PEEKED:
            return Receipt(queue_id, seq, count, received_ms)
        return Receipt(queue_id, seq, count - _PEEKED, received_ms, is_peeked=True)

    def _handle(self, payload: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(payload)
        return b2a_base64(payload + mac.digest(), newline=False)[:_HANDLE_LENGTH].translate(_TO_URL)
