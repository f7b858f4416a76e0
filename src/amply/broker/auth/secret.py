"""Texts that must not be seen by chance. Knows nothing of what they open."""

import hmac
from typing import NoReturn


class Secret:
    """A secret text. Printed, logged, formatted or put into an error it reads `***`; encoders refuse it.

    Equality takes the same time wherever the first difference is.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for signing, for the key file, and for showing it once to whoever made it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._bytes(), other._bytes())

    __hash__ = None  # type: ignore[assignment]

    def _bytes(self) -> bytes:
        # What a client sent need not be text that UTF-8 has.
        return self._text.encode("utf-8", "surrogatepass")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
