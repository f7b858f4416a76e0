"""The documentation as a thing to test."""

import sys
from pathlib import Path

import boto3
import pytest
from celery import _state

HERE = Path(__file__).resolve().parent

# The test modules share what reads the pages; `bench` is beside the package and not in it.
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from pages import blocks, name  # noqa: E402 - found by the line above

from amply.transport import transport  # noqa: E402


@pytest.fixture
def aws_variables(broker, monkeypatch):
    """The variables that a reader has set, and a transport that has not met another broker."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", broker.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setattr(transport, "_clients", {})
    # It would keep these credentials for whoever asks for a client later.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    # A task of an app on a page is offered to every app that this process makes later.
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
    yield
    for client in transport._clients.values():
        client.close()


@pytest.fixture
def run(aws_variables):
    """Run the marked blocks of a page, one after the other, as a reader would who has set the variables."""

    def run_page(page):
        names = {"__name__": "__main__"}
        for block in blocks(page):
            if block.info == "python run":
                # Behind so many empty lines, a traceback names the page and its line.
                code = compile("\n" * (block.line - 1) + block.text, name(page), "exec")
                exec(code, names)
        for opened in ("sqs", "app"):
            if opened in names:
                names[opened].close()

    return run_page
