"""The habits of the house that a linter does not know."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted(path for folder in ("src", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# Words that name nothing: what is in the room could be anything.
EMPTY_WORDS = {"manager", "util", "utils", "helper", "helpers", "common", "item", "items", "misc"}

# Where the machine that something was written on shows. In brackets so that this line is not one of them.
OWN_MACHINE = re.compile(r"/[w]ork/|/[t]mp/w\b")

# The longest pause between two looks at something real, like a process that ends.
LOOK_AGAIN_S_MAX = 0.1

SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s"
    r"|(CREATE|ALTER|DROP)\s+(TABLE|INDEX|UNIQUE|VIEW|TRIGGER)\s|WITH\s+\w+\s+AS\s)"
)


def length_errors(text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{FILE_LINES_MAX + 1}: the file has {lines} lines; over {FILE_LINES_MAX} it is usually two rooms"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name} has {lines} lines; over {FUNCTION_LINES_MAX} it is two functions"


def docstring_errors(text: str) -> Iterator[str]:
    if not ast.get_docstring(ast.parse(text)):
        yield "1: the module has no docstring that says what it knows"


def name_errors(path: str, text: str) -> Iterator[str]:
    names = [(1, part.removesuffix(".py")) for part in Path(path).parts]
    names += [(node.lineno, node.name) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    for line, name in names:
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
        if words & EMPTY_WORDS:
            yield f"{line}: {name} says nothing about what it is"


def sleep_errors(text: str) -> Iterator[str]:
    """Sleeps, but for giving way (0 s) and for a short pause in a `while` that looks at something real again."""
    tree = ast.parse(text)
    looped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.While) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        argument = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        allowed_s = LOOK_AGAIN_S_MAX if id(node) in looped else 0
        if name == "sleep" and not (isinstance(argument, int | float) and argument <= allowed_s):
            yield f"{node.lineno}: a test that sleeps is slow and fails now and then; move the clock, or wait for it"


def sql_errors(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
            yield f"{node.lineno}: SQL lives in .sql files, under a name"


def machine_errors(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if OWN_MACHINE.search(line):
            yield f"{number}: a path of somebody's own machine: {line.strip()[:80]}"


def all_errors(path: Path) -> Iterator[str]:
    where, text = path.relative_to(ROOT), path.read_text()
    is_source = where.parts[0] == "src"
    yield from length_errors(text)
    yield from name_errors(str(where), text)
    # A kill comes at a random moment of real time; no clock can be moved to it.
    if where.parts[0] == "tests" and where.parts[1] != "crash":
        yield from sleep_errors(text)
    if is_source:
        yield from docstring_errors(text)
        yield from sql_errors(text)


def tracked() -> list[Path]:
    """Every text file that is under version control and still there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of the files that belong to it")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_tidy(path):
    errors = [f"{path.relative_to(ROOT)}:{error}" for error in all_errors(path)]
    assert not errors, "\n".join(errors)


def test_no_file_names_a_place_on_somebody_s_machine():
    errors = [
        f"{path.relative_to(ROOT)}:{error}"
        for path in tracked()
        for error in machine_errors(path.read_text(errors="replace"))  # fuzzed inputs are any bytes
    ]
    assert not errors, "\n".join(errors)


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (length_errors("x = 1\n" * 401), "401: the file has 401 lines"),
        (length_errors("\ndef f():\n" + "    x = 1\n" * 60), "2: f has 61 lines"),
        (docstring_errors("x = 1\n"), "1: the module has no docstring"),
        (name_errors("src/amply/queue_utils.py", ""), "1: queue_utils says nothing"),
        (name_errors("src/common/a.py", ""), "1: common says nothing"),
        (name_errors("a.py", "\nclass QueueManager: ..."), "2: QueueManager says nothing"),
        (sleep_errors("import time\ntime.sleep(1)"), "2: a test that sleeps"),
        (sleep_errors("while x:\n    time.sleep(1)"), "2: a test that sleeps"),
        (sleep_errors("from asyncio import sleep\nasync def f():\n    await sleep(0.1)"), "3: a test that sleeps"),
        (sql_errors("\nx = 'SELECT a FROM b'"), "2: SQL lives in .sql files"),
        (sql_errors("x = f'''\n  INSERT INTO {y} VALUES'''"), "1: SQL lives in .sql files"),
        (machine_errors("a\ncd /" + "work/me"), "2: a path of somebody's own machine"),
    ],
)
def test_what_is_untidy_is_found_with_its_line(found, error):
    (told,) = found
    assert told.startswith(error)


@pytest.mark.parametrize(
    "found",
    [
        length_errors("def f():\n" + "    x = 1\n" * 59),
        name_errors("src/amply/recommonence.py", "class Itemised: ..."),
        sleep_errors("import asyncio\nasync def f():\n    await asyncio.sleep(0)"),
        sleep_errors("while not gone():\n    assert clock() < deadline\n    time.sleep(0.02)"),
        sql_errors('"""Delete from it."""\nx = "Selects nothing", "UPDATE"'),
        machine_errors("/usr/bin/env /work /tmp/x"),
    ],
)
def test_what_is_tidy_is_let_through(found):
    assert list(found) == []
