"""Who may import whom, and who may read the clock, make random values or read the environment (ARCHITECTURE.md)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

# What would let the outside world into rooms that are functions of their arguments.
WORLD = {
    *("asyncio", "concurrent", "http.client", "multiprocessing", "os", "pathlib", "random", "secrets", "select"),
    *(
        "selectors",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib.request",
    ),
}
# Parsers of XML open doors (entities, external documents); SQS's XML is only ever written.
XML = {"lxml", "xml"}


class Room(NamedTuple):
    """What a room may import: of ours, of others'; and what it must not, of Python's own library."""

    ours: set[str]
    others: set[str]
    never: set[str] = XML
    everything: bool = False


# The lean SQS client, which other rooms than Celery's transport use as well.
_SQS_CLIENT = {"transport.client", "transport.endpoint", "transport.faults"}

EVERYTHING = Room(set(), set(), set(), everything=True)

# DESIGN's table. Besides what it says, `errors` may be imported everywhere, and `clock` and `ids` wherever time and
# identities are handed in; those three know nothing of ours.
TABLE = {
    "errors": Room(set(), {"msgspec"}, WORLD | XML),
    "clock": Room(set(), {"msgspec"}),
    "ids": Room(set(), {"msgspec"}),
    "envelope": Room(set(), {"msgspec"}, WORLD | XML),
    "settings": Room({"errors"}, {"msgspec"}),
    "logs": Room({"errors"}, {"msgspec"}),
    "sqlite_file": Room({"errors"}, {"msgspec", "apsw"}),
    "broker.sqs": Room(set(), {"msgspec"}, WORLD | XML),
    "broker.wire": Room({"broker.sqs"}, {"msgspec"}, WORLD | XML),
    "broker.engine": Room({"broker.sqs"}, {"msgspec"}, WORLD | XML),
    "broker.store": Room(
        {"broker.sqs", "broker.engine.records", "errors"}, {"msgspec", "apsw"}, XML | {"asyncio", "socket"}
    ),
    "broker.auth": Room({"broker.sqs", "errors"}, {"msgspec"}),
    "broker.service": Room(
        {"broker.sqs", "broker.engine", "broker.store.port", "broker.auth", "clock", "ids", "topology", "errors"},
        {"msgspec"},
        XML | {"socket", "sqlite3"},
    ),
    "broker.server": Room(
        {"broker.sqs", "broker.wire", "broker.auth", "broker.service", "errors"},
        {"msgspec", "httptools", "uvloop"},
        XML | {"sqlite3"},
    ),
    "topology": Room({"broker.sqs", "errors"}, {"msgspec", "yaml"}),
    "monitoring": Room({"broker.sqs", "clock", "topology", "errors"}, {"msgspec"}),
    "scaling": Room({"broker.sqs", "clock", "topology", "errors"}, {"msgspec"}),
    "transport": Room({"envelope", "errors", "clock", "ids"}, {"msgspec", "celery", "kombu", "botocore", "vine"}),
    "results": Room({"errors", "clock", "sqlite_file"}, {"celery", "kombu", "apsw"}),
    "jobs": Room(
        {"topology", "transport", "envelope", "settings", "errors", "clock", "ids"},
        {"msgspec", "celery", "kombu", "sqlalchemy", "httpx", "httpcore"},
    ),
    "deadletters": Room(
        {"topology", "envelope", "errors", "clock", "ids", "sqlite_file", *_SQS_CLIENT},
        {"msgspec", "apsw"},
    ),
    "aws": Room({"topology", "envelope", "errors", "clock"}, {"msgspec", "boto3", "botocore", "yaml"}),
    "dashboard": Room(
        {
            *("broker.service.observation", "monitoring", "deadletters", "scaling", "aws.cost", "topology", "envelope"),
            *("errors", "clock"),
        },
        {"msgspec", "starlette", "uvicorn", "jinja2"},
    ),
    "cli": EVERYTHING,
    "testing": EVERYTHING,
    "__main__": EVERYTHING,
    # Packages that only hold rooms.
    "": Room(set(), set(), WORLD | XML),
    "broker": Room(set(), set(), WORLD | XML),
}

CLOCK_READS = {
    *(f"time.{name}{unit}" for name in ("time", "monotonic", "perf_counter", "clock_gettime") for unit in ("", "_ns")),
    *("time.localtime", "time.gmtime", "time.ctime", "time.strftime"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
}
RANDOM_MAKERS = {"random", "secrets", "os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4"}
# Random numbers that a seed decides are no source of randomness; whoever makes the seed is.
SEEDED = "random.Random"
ENVIRONMENT_READS = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.path.expandvars"}
# An import that the table cannot see.
HIDDEN_IMPORTS = {"importlib.import_module", "importlib.util", "runpy"}

# Who may do what nobody else may, and why.
ALONE = {
    "clock": CLOCK_READS,
    "ids": RANDOM_MAKERS,
    "settings": ENVIRONMENT_READS,
    "cli.main": HIDDEN_IMPORTS,
    # A process of its own that imports nothing of ours; it bounds how long it waits for others to end.
    "scaling.lifeline": {"time.monotonic"},
    # The key of a store is made once, with the store; no rule depends on its value.
    "broker.store.opening": {"secrets"},
}


def module_name(path: Path) -> str:
    """`broker.sqs.names` for src/amply/broker/sqs/names.py; "" for the package `amply` itself."""
    parts = path.relative_to(SOURCE / "amply").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room in the table that a module of ours belongs to."""
    rooms = [room for room in TABLE if room and (module == room or module.startswith(f"{room}."))]
    if rooms:
        room = max(rooms, key=len)
        return room if room != "broker" or module == "broker" else None
    return "" if module == "" else None


def imports(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, module and name ("" for a whole module) of everything that is imported anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, "." * node.level + (node.module or ""), alias.name


def references(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is used from an imported module, under whatever name it was imported."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        chain, at = [], node
        while isinstance(at, ast.Attribute):
            chain.append(at.attr)
            at = at.value
        if id(node) not in inner and isinstance(at, ast.Name) and at.id in names:
            yield at.lineno, ".".join([names[at.id], *reversed(chain)])


def arrow_errors(module: str, text: str) -> list[str]:
    """Every import of a module that its room may not make, as "line: reason"."""
    room = room_of(module)
    if room is None:
        return [f"1: {module} is in no room of the table; add the room to it, or move the module"]
    rule, errors = TABLE[room], []
    for line, imported, name in imports(ast.parse(text)):
        if imported.startswith("."):
            errors.append(f"{line}: relative import; write the whole name")
            continue
        top = imported.split(".")[0]
        if top == "amply":
            ours = f"{imported}.{name}".removeprefix("amply").strip(".")
            known = within(ours, rule.ours | {room}) if room else False
            if not (rule.everything or known or ours == "__version__"):
                errors.append(f"{line}: {room or 'amply'} may not import amply.{ours}")
        elif rule.everything:
            continue
        elif top in sys.stdlib_module_names:
            if within(imported, rule.never) or within(f"{imported}.{name}", rule.never):
                errors.append(f"{line}: {room or 'amply'} may not import {imported}")
        elif top not in rule.others:
            errors.append(f"{line}: {room or 'amply'} may not import {imported}")
    return errors


def source_errors(module: str, text: str) -> list[str]:
    """Every use of the clock, of randomness or of the environment that is not the module's to make."""
    everybody = CLOCK_READS | RANDOM_MAKERS | ENVIRONMENT_READS | HIDDEN_IMPORTS
    forbidden = everybody - ALONE.get(module, set())
    found = {(line, name) for line, name in references(ast.parse(text)) if within(name, forbidden) and name != SEEDED}
    return [f"{line}: {name} is for {who(name)} alone" for line, name in sorted(found)]


def who(name: str) -> str:
    if within(name, CLOCK_READS):
        return "amply.clock"
    if within(name, RANDOM_MAKERS):
        return "amply.ids"
    return "amply.settings" if within(name, ENVIRONMENT_READS) else "amply.cli.main"


def within(name: str, names: set[str]) -> bool:
    """Whether a dotted name is one of the names or lies under one."""
    return any(name == other or name.startswith(f"{other}.") for other in names)


def modules() -> list[Path]:
    return sorted((SOURCE / "amply").rglob("*.py"))


def test_there_is_a_house_to_check():
    assert {module_name(path) for path in modules()} >= {"", "clock", "ids", "settings", "topology.load", "cli.main"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_room_may_see(path):
    where = path.relative_to(ROOT)
    errors = [f"{where}:{error}" for error in arrow_errors(module_name(path), path.read_text())]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_time_randomness_and_the_environment_come_from_one_place_each(path):
    where = path.relative_to(ROOT)
    errors = [f"{where}:{error}" for error in source_errors(module_name(path), path.read_text())]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize(
    ("module", "text", "error"),
    [
        (
            "broker.engine.queue",
            "from amply.broker.wire import http",
            "broker.engine may not import amply.broker.wire.http",
        ),
        (
            "broker.engine.queue",
            "import amply.broker.store.port",
            "broker.engine may not import amply.broker.store.port",
        ),
        ("broker.engine.queue", "from amply import clock", "broker.engine may not import amply.clock"),
        ("broker.engine.queue", "def f():\n    import asyncio", "broker.engine may not import asyncio"),
        ("broker.engine.queue", "from os import path", "broker.engine may not import os"),
        ("broker.store.sqlite", "from amply.broker.engine import queue", "may not import amply.broker.engine.queue"),
        ("broker.store.sqlite", "from amply.broker.engine.recordsx import A", "may not import"),
        ("broker.service.boot", "from amply.broker.store import sqlite", "may not import amply.broker.store.sqlite"),
        ("broker.server.listener", "from amply.broker.engine.queue import Queue", "may not import amply.broker.engine"),
        ("broker.server.listener", "from xml.etree import ElementTree", "broker.server may not import xml.etree"),
        ("broker.sqs.names", "import httpx", "broker.sqs may not import httpx"),
        (
            "broker.sqs.names",
            "from amply.errors import AmplyError",
            "broker.sqs may not import amply.errors.AmplyError",
        ),
        ("broker.sqs.names", "from . import limits", "relative import; write the whole name"),
        ("jobs.webhooks", "from amply.broker.sqs import names", "jobs may not import amply.broker.sqs.names"),
        ("jobs.webhooks", "from amply.cli import output", "jobs may not import amply.cli.output"),
        ("transport.channel", "from amply.topology import load", "transport may not import amply.topology.load"),
        ("topology.load", "import boto3", "topology may not import boto3"),
        ("dashboard.pages", "from amply.broker.service import queues", "dashboard may not import amply.broker.service"),
        ("stray", "x = 1", "stray is in no room of the table"),
        ("broker.stray", "x = 1", "broker.stray is in no room of the table"),
        ("", "from amply import cli", "amply may not import amply.cli"),
    ],
)
def test_an_arrow_against_the_table_is_found_with_its_line(module, text, error):
    (found,) = arrow_errors(module, f"\n{text}\n")
    assert error in found
    assert int(found.split(":")[0]) in {1, 2, 3}


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("broker.engine.queue", "from amply.broker.sqs.limits import AWS\nimport heapq\nfrom msgspec import Struct"),
        ("broker.store.sqlite", "from amply.broker.engine.records import Entry\nimport apsw, os, threading"),
        ("broker.service.boot", "from amply.broker.store.port import Store\nfrom amply import clock, ids"),
        ("jobs.reports", "from amply import settings\nfrom sqlalchemy import select"),
        ("dashboard.pages", "from amply.broker.service.observation import Look"),
        (
            "cli.up",
            "import importlib, boto3\nfrom amply.broker.store.sqlite import Sqlite\nfrom amply import __version__",
        ),
    ],
)
def test_an_arrow_of_the_table_is_let_through(module, text):
    assert arrow_errors(module, text) == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import time\nx = time.time()", "2: time.time is for amply.clock alone"),
        ("import time as t\nx = t.monotonic_ns()", "2: time.monotonic_ns is for amply.clock alone"),
        ("from time import time\nx = time()", "2: time.time is for amply.clock alone"),
        (
            "from datetime import datetime, UTC\nx = datetime.now(UTC)",
            "2: datetime.datetime.now is for amply.clock alone",
        ),
        ("import random\nx = random.choice([1])", "2: random.choice is for amply.ids alone"),
        ("from random import choice\nx = choice([1])", "2: random.choice is for amply.ids alone"),
        ("import uuid\nx = uuid.uuid4()", "2: uuid.uuid4 is for amply.ids alone"),
        ("import os\nx = os.environ['A']", "2: os.environ is for amply.settings alone"),
        (
            "import importlib\nx = importlib.import_module('x')",
            "2: importlib.import_module is for amply.cli.main alone",
        ),
        ("from os import getenv\nx = getenv('A')", "2: os.getenv is for amply.settings alone"),
    ],
)
def test_another_source_of_time_randomness_or_settings_is_found(text, error):
    assert error in source_errors("jobs.any", text)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("clock", "import time\nx = time.time_ns()"),
        ("ids", "import os, uuid\nx = os.urandom(2), uuid.uuid4()"),
        ("settings", "import os\nx = os.environ"),
        ("jobs.any", "import random\nx: random.Random = random.Random(1)"),
        ("jobs.any", "import time, os, uuid\ntime.sleep(1)\nos.fsync(1)\nuuid.UUID(int=1)\ntime_s = time.struct_time"),
    ],
)
def test_each_source_has_its_one_place_and_harmless_neighbours(module, text):
    assert source_errors(module, text) == []
