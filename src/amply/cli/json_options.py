"""Options whose value is JSON of one type. Knows JSON and click; must not know what the values are for."""

import json
from collections.abc import Callable
from typing import Any

import click


def read_json(kind: type, name: str) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback that reads JSON of one type: `list` for an array, `dict` for an object. An option left out is None."""

    def read(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"{text!r} is not JSON: {error}", context, parameter) from error
        if not isinstance(value, kind):
            raise click.BadParameter(f"{text!r} is JSON, but not {name}.", context, parameter)
        return value

    return read
