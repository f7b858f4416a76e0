"""The SQL beside this module: statements by name. Executes nothing."""

from importlib import resources


def _statements() -> dict[str, str]:
    blocks = (resources.files("amply.results") / "statements.sql").read_text("utf-8").split("-- name: ")[1:]
    return {name: sql.strip() for name, _, sql in (block.partition("\n") for block in blocks)}


STATEMENTS = _statements()
