"""Tables that can be put back to where they stood at the last commit: what a crash does to a broker."""

from typing import Any

_ABSENT = object()


class Journal:
    """Writes down what every change replaced."""

    def __init__(self) -> None:
        self._replaced: list[tuple[dict[Any, Any], Any, Any]] = []

    def put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._replaced.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def drop(self, table: dict[Any, Any], key: Any) -> None:
        self._replaced.append((table, key, table.pop(key)))

    def commit(self) -> None:
        self._replaced.clear()

    def roll_back(self) -> None:
        while self._replaced:
            table, key, before = self._replaced.pop()
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before
