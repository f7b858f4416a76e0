"""Drives the AWS command line through the same steps as boto3: `python aws_cli.py`.

Each call is put into the words of `aws sqs ...` and handed to the command line's own code, within this process: as
processes of their own the hundreds of calls would take minutes. Its version 1 looks at AWS_ENDPOINT_URL_SQS only in
regions that have no older endpoint, so the endpoint is an option here.
"""

import base64
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace
from typing import Any

from awscli.clidriver import create_clidriver
from botocore import xform_name
from botocore.exceptions import ClientError
from drive import drive
from expecting import GIFT, Run

# It takes the bytes of an attribute as text, so these are UTF-8, though none that a String may have.
SEAL = "Öl\x1f".encode()

_ERROR = re.compile(r"An error occurred \((\S+)\) when calling the (\w+) operation: (.*)", re.DOTALL)


class _EveryError:
    """boto3's exceptions by their names. The command line tells only codes."""

    def __getattr__(self, name: str) -> type[ClientError]:
        return ClientError


class CommandLine:
    """Looks like boto3's client, as far as the steps use it."""

    exceptions = _EveryError()

    def __init__(self, endpoint_url: str) -> None:
        self._driver = create_clidriver()
        self._options = ["--endpoint-url", endpoint_url, "--output", "json", "sqs"]
        model = self._driver.session.get_service_model("sqs")
        self._actions = {xform_name(name): name for name in model.operation_names}
        self.meta = SimpleNamespace(service_model=model)
        self.asked: set[str] = set()

    def __getattr__(self, method: str) -> Callable[..., dict[str, Any]]:
        action = self._actions[method]

        def call(**members: object) -> dict[str, Any]:
            self.asked.add(action)
            words = [word for name, value in members.items() for word in _words(name, value)]
            return self._run([method.replace("_", "-"), *words])

        return call

    def get_paginator(self, method: str) -> "Pages":
        return Pages(getattr(self, method))

    def _run(self, words: list[str]) -> dict[str, Any]:
        told, complaint = io.StringIO(), io.StringIO()
        with redirect_stdout(told), redirect_stderr(complaint):
            self._driver.main([*self._options, *words])
        if error := _ERROR.search(complaint.getvalue()):
            code, action, message = error.groups()
            raise ClientError({"Error": {"Code": code, "Message": message.strip()}}, action)
        if complaint.getvalue():
            raise RuntimeError(f"aws sqs {words} complains: {complaint.getvalue()}")
        answer: dict[str, Any] = json.loads(told.getvalue() or "{}", object_hook=_with_bytes)
        return answer


class Pages:
    """A list in pages, as a person asks for them: so many at a time, and on from the token."""

    def __init__(self, call: Callable[..., dict[str, Any]]) -> None:
        self._call = call

    def paginate(self, **members: Any) -> Iterator[dict[str, Any]]:
        size = members.pop("PaginationConfig")["PageSize"]
        page = self._call(**members, MaxItems=size, PageSize=size)
        yield page
        while "NextToken" in page:
            page = self._call(**members, MaxItems=size, PageSize=size, StartingToken=page["NextToken"])
            yield page


def _words(name: str, value: object) -> list[str]:
    """A member of a request as the option and what follows it."""
    option = f"--{xform_name(name, '-')}"
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [option, *value]
    if isinstance(value, str | int):
        return [option, str(value)]
    return [option, json.dumps(value, default=bytes.decode)]


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    """The command line shows bytes in base64."""
    if "BinaryValue" in value:
        value["BinaryValue"] = base64.b64decode(value["BinaryValue"])
    return value


def main() -> None:
    sqs = CommandLine(os.environ["AWS_ENDPOINT_URL_SQS"])
    seal = {"DataType": "Binary", "BinaryValue": SEAL}
    drive(Run(sqs, "cli", gift={**GIFT, "seal": seal}), sqs.asked)


if __name__ == "__main__":
    main()
