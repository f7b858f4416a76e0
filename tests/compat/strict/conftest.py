"""A strict broker inside the tests' own process, keys for its roles, and ways to sign a request."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import boto3
import pytest
import urllib3
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from amply.broker.auth.keys import Key, KeyRing
from amply.broker.auth.secret import Secret
from amply.broker.store.memory import MemoryStore
from amply.cli import broker_access
from amply.clock import wall_ms
from amply.topology.load import PACKAGED, load

REGION = "eu-central-1"
ACCOUNT = "000000000000"


class Answer(NamedTuple):
    """Status, AWS's code and message of a refusal, or the status and nothing."""

    status: int
    code: str
    message: str
    body: bytes


class StrictBroker:
    """The broker, its data folder, and what a client needs to use it."""

    def __init__(self, running: Any, access: broker_access.Strict, data: Path, session: boto3.session.Session) -> None:
        self.running = running
        self.endpoint_url: str = running.endpoint_url
        self.data = data
        self.ring = KeyRing(access.keys.path)  # not the broker's own: keys are made and revoked by other processes
        self._session = session
        self._clients: list[Any] = []

    def key(self, role: str, name: str | None = None, **changes: Any) -> Key:
        """A new key in the broker's own file."""
        number = len(self.ring.list())
        known = {"access_key": f"AKIA{number:016}", "secret": Secret(f"secret of {number}"), "created_ms": wall_ms()}
        key = Key(**{**known, "role": role, "name": name or role, **changes})
        self.ring.add(key)
        return key

    def client(self, key: Key, **options: Any) -> Any:
        """boto3's client with the key. It tries once."""
        client = self._session.client(
            "sqs",
            region_name=options.pop("region_name", REGION),
            endpoint_url=self.endpoint_url,
            aws_access_key_id=key.access_key,
            aws_secret_access_key=options.pop("secret", key.secret.reveal()),
            aws_session_token=key.session_token.reveal() if key.session_token else None,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30),
            **options,
        )
        self._clients.append(client)
        return client

    def url(self, name: str, account: str = ACCOUNT) -> str:
        return f"{self.endpoint_url}/{account}/{name}"

    def send(self, request: AWSRequest) -> Answer:
        """Send a request as it is, signed or not."""
        prepared = request.prepare()
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            response = pool.request(prepared.method, prepared.url, body=prepared.body, headers=dict(prepared.headers))
        told = {}
        if response.status != 200 and response.data.startswith(b"{"):
            told = json.loads(response.data)
        return Answer(
            response.status, told.get("__type", "").rpartition("#")[2], told.get("message", ""), response.data
        )

    def audit(self) -> list[dict[str, Any]]:
        """What the audit holds."""
        path = self.data / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture
def start_strict(start_broker: Callable[..., Any], tmp_path: Path, boto3_session: boto3.session.Session) -> Any:
    """Start a strict broker, on a store that forgets unless given another."""
    started: list[StrictBroker] = []

    def start(store: Any = None, **options: Any) -> StrictBroker:
        data = tmp_path / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        access = broker_access.strict(load(None), PACKAGED, data)
        running = start_broker(store or MemoryStore(), strict=access, **options)
        started.append(StrictBroker(running, access, data, boto3_session))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def strict(start_strict: Callable[..., StrictBroker]) -> StrictBroker:
    """A strict broker over plain HTTP on loopback."""
    return start_strict()


@pytest.fixture
def json_request() -> Callable[..., AWSRequest]:
    """An AWS JSON request, not signed yet: `json_request(broker, "SendMessage", QueueUrl=...)`."""

    def make(broker: StrictBroker, action: str, path: str = "/", **members: Any) -> AWSRequest:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
        return AWSRequest("POST", broker.endpoint_url + path, headers=headers, data=json.dumps(members).encode())

    return make


@pytest.fixture
def query_request() -> Callable[..., AWSRequest]:
    """An AWS Query request, not signed yet; answers of errors are JSON."""

    def make(broker: StrictBroker, action: str, method: str = "POST", path: str = "/", **fields: Any) -> AWSRequest:
        form = urlencode({"Action": action, "Version": "2012-11-05", **fields})
        url = broker.endpoint_url + path
        if method == "GET":
            return AWSRequest("GET", f"{url}?{form}")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return AWSRequest("POST", url, headers=headers, data=form.encode())

    return make


@pytest.fixture
def sign() -> Callable[..., AWSRequest]:
    """Sign a request with a key, in its header or, with `expires_s`, in its query."""

    def signed(request: AWSRequest, key: Key, *, expires_s: int | None = None, region: str = REGION) -> AWSRequest:
        token = key.session_token.reveal() if key.session_token else None
        credentials = Credentials(key.access_key, key.secret.reveal(), token)
        if expires_s is None:
            SigV4Auth(credentials, "sqs", region).add_auth(request)
        else:
            SigV4QueryAuth(credentials, "sqs", region, expires=expires_s).add_auth(request)
        return request

    return signed
