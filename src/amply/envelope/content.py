"""The inner body of an envelope as bytes: base64 or text, compressed or not, whatever its content type.

Knows kombu's body encodings and compressions. Must not know calls of tasks, and opens no pickle.
"""

import base64
import binascii
import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from amply.envelope.json_text import Unreadable

# A message of 1 MiB can unpack to a thousand times that; a worker must not.
UNPACKED_BYTES_MAX = 64 * 2**20

# kombu 5.7, compression.py. Brotli and Zstandard need packages that only the worker may have: left to kombu.
_UNPACKERS: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("application/x-gzip", "gzip", "zlib"), zlib.decompressobj),
    **dict.fromkeys(("application/x-bz2", "bzip2", "bzip"), bz2.BZ2Decompressor),
    **dict.fromkeys(
        ("application/x-lzma", "lzma", "xz"), lambda: lzma.LZMADecompressor(memlimit=2 * UNPACKED_BYTES_MAX)
    ),
}


def plain_form(body: Any, encoding: Any) -> tuple[str, str, bytes]:
    """The body as text, its encoding ("base64" or "utf-8") and its bytes, from what an envelope says of them.

    Where no encoding is said, a body that is base64 is taken as such: no JSON, YAML or text pickle of a call is made of
    base64's letters alone. Bytes come from stock kombu with a binary serializer and `body_encoding='utf-8'`.
    """
    if isinstance(body, bytes):
        return _of_bytes(body, encoding)
    if not isinstance(body, str) or not body:
        raise Unreadable("body must be text, and not empty" if body is not None else "it has no body")
    if not encoding:
        try:
            data = strict_base64(body)
        except ValueError:
            return body, "utf-8", _utf8(body)
        return body, "base64", data
    if not isinstance(encoding, str) or encoding.lower() not in {"base64", "utf-8"}:
        raise Unreadable("properties.body_encoding must be base64 or utf-8")
    if encoding.lower() == "utf-8":
        return body, "utf-8", _utf8(body)
    try:
        # As lenient as kombu itself, so that what is looked at here is what the worker will see.
        return body, "base64", binascii.a2b_base64(body)
    except ValueError:
        raise Unreadable("body is not base64") from None


def unpacked(data: bytes, compression: Any) -> bytes | None:
    """The bytes before `compression` (the header of that name); None where only the worker's kombu can tell."""
    if not compression:
        return data
    unpacker = _UNPACKERS.get(compression)
    if unpacker is None:
        return None
    stream = unpacker()
    try:
        plain: bytes = stream.decompress(data, UNPACKED_BYTES_MAX)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        raise Unreadable("body is not compressed as headers.compression says") from None
    # kombu would unpack what follows a first stream, too, and nobody would have looked at that.
    if not stream.eof or stream.unused_data:
        raise Unreadable(f"body is cut short, or unpacks to more than {UNPACKED_BYTES_MAX} bytes")
    return plain


def strict_base64(text: str) -> bytes:
    """The bytes of a text that is base64 and nothing else; line breaks, as Ruby and MIME write them, are no harm."""
    return binascii.a2b_base64("".join(text.split()), strict_mode=True)


def _of_bytes(body: bytes, encoding: Any) -> tuple[str, str, bytes]:
    if encoding == "base64":
        try:
            return plain_form(body.decode("ascii"), encoding)
        except UnicodeDecodeError:
            raise Unreadable("body is not base64") from None
    return base64.b64encode(body).decode(), "base64", body


def _utf8(body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise Unreadable("body holds characters that are none (lone surrogates)") from None
