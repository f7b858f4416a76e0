"""The reference names everything that there is, and nothing else."""

import itertools
import re

import click
from commands_page import PAGE, commands, text
from msgspec.structs import asdict
from pages import ROOT, first_cells, name

from amply import settings
from amply.broker.service.dispatch import HANDLERS
from amply.broker.sqs.actions import ACTIONS
from amply.broker.sqs.limits import AWS
from amply.topology.document import TopologyError
from amply.topology.load import load

REFERENCE = ROOT / "docs" / "reference"


def test_the_page_of_commands_says_what_the_commands_say():
    page, meant = PAGE.read_text("utf-8").splitlines(), text().splitlines()
    pairs = enumerate(itertools.zip_longest(page, meant), 1)
    differs = next((line for line, (said, true) in pairs if said != true), None)
    assert differs is None, f"{name(PAGE)}:{differs}: not what --help says; run: python tests/docs/commands_page.py"


def test_every_command_and_option_is_on_the_page_of_commands():
    page = PAGE.read_text("utf-8")
    missing = []
    for words, command in commands():
        called = " ".join(("amply", *words))
        section = page.partition(f"\n## {called}\n")[2].partition("\n## ")[0]
        options = [option for each in command.params if isinstance(each, click.Option) for option in each.opts]
        missing += [f"{called} {option}" for option in options if not re.search(rf"{option}\b", section)]
        if not section:
            missing.append(called)
    assert not missing, f"{name(PAGE)}:1: not there: {', '.join(missing)}"


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text("utf-8")
    leaves = [" ".join(("amply", *words)) for words, command in commands() if not isinstance(command, click.Group)]
    missing = [command for command in leaves if f"`{command}`" not in readme]
    assert not missing, f"README.md:1: not there: {', '.join(missing)}"


def test_every_setting_is_in_the_reference_and_the_readme():
    for page in (REFERENCE / "settings.md", ROOT / "README.md"):
        missing = sorted(set(settings.VARIABLES) - set(first_cells(page)))
        assert not missing, f"{name(page)}:1: not there: {', '.join(missing)}"


def test_no_setting_of_amply_is_invented():
    page = REFERENCE / "settings.md"
    invented = {word: line for word, line in first_cells(page).items() if word.startswith("AMPLY_")}
    for word in settings.VARIABLES:
        invented.pop(word, None)
    assert not invented, "\n".join(f"{name(page)}:{line}: there is no {word}" for word, line in invented.items())


def topology_keys(tmp_path):
    """Every key that the loader knows, from what it says when it is given a text in place of a mapping."""
    file = tmp_path / "topology.yaml"
    keys = set()
    for document in (
        "x",
        "{queues: [x], routes: [x], workers: [x], roles: [x]}",
        "{roles: [{Statement: [x]}]}",
        "{queues: [{Attributes: x}]}",
        "{queues: [{Attributes: {RedrivePolicy: x}}]}",
    ):
        file.write_text(document)
        try:
            load(file)
        except TopologyError as error:
            for finding in error.findings:
                if found := re.match(r"must be a mapping of (.*); it is", finding.reason):
                    keys |= set(found[1].split(", "))
    return keys


def test_every_key_of_a_topology_is_in_the_reference_and_no_other(tmp_path):
    page = REFERENCE / "topology.md"
    keys, told = topology_keys(tmp_path), first_cells(page)
    assert {"region", "QueueName", "VisibilityTimeout", "maxReceiveCount", "task", "concurrency"} <= keys
    errors = [f"{name(page)}:1: {key} is not there" for key in sorted(keys - set(told))]
    errors += [f"{name(page)}:{line}: there is no key {key}" for key, line in told.items() if key not in keys]
    assert not errors, "\n".join(errors)


def test_every_limit_is_in_the_reference_with_its_number_and_no_other():
    page = REFERENCE / "limits.md"
    rows = re.findall(r"^\| `(\w+)` \| (-?\d+) \|", page.read_text("utf-8"), re.MULTILINE)
    assert {limit: int(value) for limit, value in rows} == asdict(AWS), name(page)


def test_every_action_is_in_the_reference_with_whether_it_is_supported(broker, make_client):
    page = REFERENCE / "sqs-actions.md"
    told = first_cells(page)
    lines = page.read_text("utf-8").splitlines()
    errors = [f"{name(page)}:1: {action} is not there" for action in ACTIONS if action not in told]
    for action, handler in HANDLERS.items():
        said = "not yet" not in lines[told.get(action, 1) - 1]
        if said != (handler.__name__ != "refuse"):
            errors.append(f"{name(page)}:{told.get(action, 1)}: what it says of {action} is not so")
    assert not errors, "\n".join(errors)
