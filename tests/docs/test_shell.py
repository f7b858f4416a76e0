"""The shell commands of the pages exist: make's targets, amply's commands and options, the workers' command lines."""

import contextlib
import io
import re
import shlex

import click
import pytest
from commands_page import commands
from pages import PAGES, ROOT, blocks, name

from amply.topology.derive import worker_command
from amply.topology.load import load
from bench.__main__ import _parser

_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


def shell_lines(page):
    """Line and words of every command in a `sh` block; a line that ends with a backslash goes on."""
    for block in blocks(page):
        if block.info != "sh":
            continue
        start, begun = block.line, ""
        for number, line in enumerate(block.text.splitlines(), block.line):
            start = start if begun else number
            begun += line.removesuffix("\\")
            if line.endswith("\\"):
                continue
            words = shlex.split(begun, comments=True)
            begun = ""
            while words and _ASSIGNMENT.fullmatch(words[0]):
                words = words[1:]
            if words:
                yield start, words


def amply_error(words):
    """What is wrong with a call of amply, read by click itself; nothing is run."""
    tree = dict(commands())
    path = ()
    while words and (*path, words[0]) in tree:
        path, words = (*path, words[0]), words[1:]
    command = tree[path]
    if isinstance(command, click.Group) and words not in (["--help"], ["--version"]):
        return f"there is no command amply {' '.join((*path, *words))}"
    try:
        command.make_context("amply", list(words), parent=click.Context(tree[()], **tree[()].context_settings))
    except click.exceptions.Exit:
        return None
    except click.UsageError as error:
        return error.format_message()
    return None


def bench_error(words):
    """What is wrong with a call of the benchmarks, whose parser ends the process when it is not pleased."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            _parser().parse_args(words)
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    return None


def errors(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workers = [worker_command(service) for service in load().workers]
    for line, words in shell_lines(page):
        program = words[0].rpartition("/")[2]
        problem = None
        if program == "make":
            unknown = [word for word in words[1:] if "=" not in word and word not in targets]
            problem = f"make has no target {unknown[0]}" if unknown else None
        elif program == "amply":
            problem = amply_error(words[1:])
        elif words[1:3] == ["-m", "bench"]:
            problem = bench_error(words[3:])
        elif program == "celery" and "amply.jobs.celery_app" in words and words not in workers:
            problem = "no worker service of the topology has this command"
        if problem:
            yield f"{name(page)}:{line}: {problem}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_shell_commands_of_a_page_exist(page):
    found = list(errors(page))
    assert not found, "\n".join(found)


def test_the_first_two_commands_of_the_readme_are_make_up_and_make_test():
    calls = [words for _, words in shell_lines(ROOT / "README.md")]
    assert calls[:2] == [["make", "up"], ["make", "test"]]


def test_the_readme_starts_every_worker_service_in_the_words_of_the_topology():
    calls = [words for _, words in shell_lines(ROOT / "README.md")]
    assert all(worker_command(service) in calls for service in load().workers)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nonsense"], "there is no command amply nonsense"),
        (["job"], "there is no command amply job"),
        (["status", "--nonsense"], "--nonsense"),
        (["broker", "--port", "99999"], "99999 is not in the range"),
        (["job", "send"], "Missing argument 'NAME'"),
    ],
)
def test_a_call_that_amply_would_refuse_is_found(words, told):
    assert told in amply_error(words)
