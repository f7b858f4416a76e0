"""Ways to ask the broker besides boto3: any bytes over HTTP, AWS JSON by hand, AWS Query forms with their XML."""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
from botocore.exceptions import ClientError

NAMESPACE = "http://queue.amazonaws.com/doc/2012-11-05/"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Answer(NamedTuple):
    """An HTTP response; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def xml(self) -> ET.Element:
        """The XML, its namespace checked and taken off the names."""
        root = ET.fromstring(self.body)
        for element in root.iter():
            assert element.tag.startswith(f"{{{NAMESPACE}}}"), element.tag
            element.tag = element.tag.removeprefix(f"{{{NAMESPACE}}}")
        return root

    def text(self, path: str) -> str | None:
        """The text of the first element on that path."""
        return self.xml.findtext(path)

    def texts(self, path: str) -> list[str | None]:
        """The texts of all elements on that path."""
        return [element.text for element in self.xml.findall(path)]

    @property
    def error(self) -> tuple[int, str | None, str | None]:
        """Status, code and message of a Query error."""
        return self.status, self.text("Error/Code"), self.text("Error/Message")

    @property
    def json_error(self) -> tuple[int, str, str, str]:
        """Status, shape, query error header and message of a JSON error."""
        return self.status, self.json["__type"], self.headers.get("x-amzn-query-error", ""), self.json["message"]


Ask = Callable[..., Answer]


@pytest.fixture
def ask(broker: Any) -> Iterator[Ask]:
    """Send a request exactly as given, over one connection unless the broker closes it."""
    place = urlsplit(broker.endpoint_url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)

    def send(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    yield send
    connection.close()


@pytest.fixture
def post_json(ask: Ask) -> Ask:
    """AWS JSON: `post_json("SendMessage", QueueUrl=...)`, or with `raw` bytes for a body."""

    def post(action: str, raw: bytes | None = None, path: str = "/", **members: Any) -> Answer:
        body = json.dumps(members).encode() if raw is None else raw
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
        return ask("POST", path, body, headers)

    return post


@pytest.fixture
def query(ask: Ask) -> Ask:
    """AWS Query: `query("SendMessage", {"QueueUrl": ...})` posts the form to `path`."""

    def post(action: str, fields: Mapping[str, object] | None = None, path: str = "/") -> Answer:
        form = {"Action": action, "Version": "2012-11-05", **(fields or {})}
        return ask("POST", path, urlencode(form).encode(), FORM)

    return post


@pytest.fixture
def queue(sqs: Any) -> str:
    """The URL of a queue `work` with nothing but defaults."""
    return str(sqs.create_queue(QueueName="work")["QueueUrl"])


@pytest.fixture
def refused() -> Callable[..., tuple[int, str, str]]:
    """Make a call that must fail: its status, code and message."""

    def call(method: Callable[..., Any], **members: Any) -> tuple[int, str, str]:
        with pytest.raises(ClientError) as caught:
            method(**members)
        response = caught.value.response
        return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]

    return call


@pytest.fixture
def in_background() -> Iterator[Callable[..., "Future[Any]"]]:
    """Make a call that waits, while the test goes on."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit
