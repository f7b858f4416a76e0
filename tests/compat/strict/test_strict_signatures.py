"""Who is not let in: no signature, wrong secrets, revoked and expired keys, wrong clocks; and what strangers learn."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from amply.broker.auth.secret import Secret
from amply.clock import wall_ms

QUEUE = "amply-celery"


@pytest.fixture
def refusal():
    """Make a call that must fail: its status and code."""

    def call(method, **members):
        with pytest.raises(ClientError) as caught:
            method(**members)
        response = caught.value.response
        return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]

    return call


def reasons(broker):
    return [(line["event"], line["reason"]) for line in broker.audit()]


def test_nothing_signed_is_refused(strict, json_request):
    answer = strict.send(json_request(strict, "SendMessage", QueueUrl=strict.url(QUEUE), MessageBody="x"))
    assert (answer.status, answer.code) == (403, "MissingAuthenticationToken")
    (line,) = strict.audit()
    assert (line["event"], line["action"], line["peer"]) == ("refused", "SendMessage", "127.0.0.1")
    assert "principal" not in line


def test_a_strangers_key_and_a_wrong_secret_are_refused(strict, refusal):
    key = strict.key("admin")
    wrong = strict.client(key, secret="another")
    assert refusal(wrong.list_queues) == (403, "SignatureDoesNotMatch")
    unknown = strict.client(key)
    strict.ring.path.unlink()
    assert refusal(unknown.list_queues) == (403, "InvalidClientTokenId")
    assert [line["access_key"] for line in strict.audit()] == [key.access_key] * 2


def test_a_revoked_key_is_refused_at_once(strict, refusal):
    key = strict.key("admin")
    client = strict.client(key)
    assert client.list_queues()["QueueUrls"]
    strict.ring.revoke(key.access_key, wall_ms())
    assert refusal(client.list_queues) == (403, "InvalidClientTokenId")
    assert reasons(strict) == [("refused", "the access key was revoked")]


def test_a_poll_that_is_under_way_is_answered_after_its_key_was_revoked_and_the_next_one_refused(strict, refusal):
    key = strict.key("worker")
    client, url = strict.client(key), strict.url(QUEUE)
    with ThreadPoolExecutor() as pool:
        poll = pool.submit(client.receive_message, QueueUrl=url, WaitTimeSeconds=20)
        strict.running.wait_for_polls(QUEUE)
        strict.ring.revoke(key.access_key, wall_ms())
        strict.client(strict.key("producer")).send_message(QueueUrl=url, MessageBody="x")
        assert poll.result(10)["Messages"][0]["Body"] == "x"
    assert refusal(client.receive_message, QueueUrl=url) == (403, "InvalidClientTokenId")


def test_an_expired_key_is_refused_and_strangers_are_not_told_why(strict, json_request, sign):
    token = Secret("token")
    good = strict.key("admin", session_token=token, expires_ms=wall_ms() + 60_000)
    expired = strict.key("admin", session_token=token, expires_ms=wall_ms() - 1)
    assert strict.client(good).list_queues()["QueueUrls"]
    told = strict.send(sign(json_request(strict, "ListQueues"), expired))
    strict.ring.path.rename(strict.ring.path.with_name("away"))
    assert strict.send(sign(json_request(strict, "ListQueues"), expired)) == told
    assert (told.status, told.code) == (403, "InvalidClientTokenId")
    assert reasons(strict)[0] == ("refused", "the access key has expired")


def test_a_temporary_key_does_not_open_without_its_token(strict, refusal):
    key = strict.key("admin", session_token=Secret("token"), expires_ms=wall_ms() + 60_000)
    without = strict.key("admin", name="without", access_key="AKIAOTHER", secret=key.secret)
    assert strict.client(without).list_queues()["QueueUrls"]
    bare = strict.client(
        type(key)(**{name: getattr(key, name) for name in key.__struct_fields__} | {"session_token": None})
    )
    assert refusal(bare.list_queues) == (403, "InvalidClientTokenId")
    assert reasons(strict) == [("refused", "the session token is not this access key's")]


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_clock_that_is_wrong_by_more_than_15_minutes_is_told(start_strict, refusal, minutes):
    broker = start_strict(wall_ms=lambda: wall_ms() + minutes * 60_000)
    client = broker.client(broker.key("admin"))
    assert refusal(client.list_queues) == (403, "RequestExpired")
    assert "Compare the clocks" in broker.audit()[0]["reason"]


def test_a_request_for_another_region_is_refused(strict, refusal):
    client = strict.client(strict.key("admin"), region_name="us-east-1")
    assert refusal(client.list_queues) == (403, "SignatureDoesNotMatch")


def test_a_body_that_was_changed_on_its_way_is_refused(strict, json_request, sign):
    request = sign(
        json_request(strict, "SendMessage", QueueUrl=strict.url(QUEUE), MessageBody="x"), strict.key("producer")
    )
    request.data = request.data.replace(b'"x"', b'"y"')
    assert strict.send(request).code == "SignatureDoesNotMatch"


def test_an_action_that_is_not_signed_is_refused(strict, json_request, sign):
    request = json_request(strict, "ListQueues")
    del request.headers["X-Amz-Target"]
    sign(request, strict.key("admin"))
    request.headers["X-Amz-Target"] = "AmazonSQS.ListQueues"
    answer = strict.send(request)
    assert (answer.status, answer.code) == (400, "IncompleteSignature")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_query_protocol_is_signed_and_authorised_alike(strict, query_request, sign, method):
    url = strict.url(QUEUE)
    key = strict.key("producer")
    sent = sign(query_request(strict, "SendMessage", method, QueueUrl=url, MessageBody="x"), key)
    assert strict.send(sent).status == 200
    purge = sign(query_request(strict, "PurgeQueue", method, QueueUrl=url), key)
    assert b"<Code>AccessDenied</Code>" in strict.send(purge).body
    unsigned = query_request(strict, "SendMessage", method, QueueUrl=url, MessageBody="x")
    assert b"<Code>MissingAuthenticationToken</Code>" in strict.send(unsigned).body


def test_a_presigned_url_does_what_its_key_may_until_its_time_is_over(start_strict, query_request, sign):
    late_ms = 0
    broker = start_strict(wall_ms=lambda: wall_ms() + late_ms)
    key = broker.key("producer")
    url = f"/000000000000/{QUEUE}"
    good = sign(query_request(broker, "SendMessage", "GET", url, MessageBody="x"), key, expires_s=60)
    assert broker.send(good).status == 200
    assert broker.send(good).status == 200
    denied = sign(query_request(broker, "PurgeQueue", "GET", url), key, expires_s=60)
    assert b"<Code>AccessDenied</Code>" in broker.send(denied).body
    changed = AWSRequest("GET", good.url.replace("MessageBody=x", "MessageBody=y"))
    assert b"<Code>SignatureDoesNotMatch</Code>" in broker.send(changed).body
    late_ms = 61_000
    assert b"<Code>RequestExpired</Code>" in broker.send(good).body


def test_a_stranger_learns_that_an_action_does_not_exist_and_nothing_else(strict, json_request, query_request):
    assert strict.send(json_request(strict, "NoSuchAction")).code == "UnknownOperationException"
    assert b"<Code>InvalidAction</Code>" in strict.send(query_request(strict, "NoSuchAction")).body
    for members in (
        {},
        {"QueueUrl": 7},
        {"QueueUrl": "::"},
        {"QueueUrl": strict.url("no-such-queue"), "MessageBody": ""},
    ):
        assert strict.send(json_request(strict, "SendMessage", **members)).code == "MissingAuthenticationToken"


def test_errors_come_in_order_parameters_then_permission_then_the_queue(strict, json_request, sign):
    producer = strict.key("producer")

    def told(action, **members):
        return strict.send(sign(json_request(strict, action, **members), producer)).code

    assert told("ReceiveMessage") == "MissingRequiredParameterException"
    assert told("ReceiveMessage", QueueUrl=strict.url("no-such-queue")) == "AccessDeniedException"
    assert told("SendMessage", QueueUrl=strict.url("no-such-queue"), MessageBody="x") == "AccessDeniedException"
    assert told("SendMessage", QueueUrl="not a url", MessageBody="x") == "InvalidAddress"
    admin = strict.client(strict.key("admin"))
    admin.delete_queue(QueueUrl=strict.url(QUEUE))
    assert told("SendMessage", QueueUrl=strict.url(QUEUE), MessageBody="x") == "QueueDoesNotExist"


def test_a_web_page_is_refused_whatever_it_signed(strict, json_request, sign):
    request = sign(json_request(strict, "ListQueues"), strict.key("admin"))
    request.headers["Origin"] = "https://evil.example"
    assert strict.send(request).code == "AccessDeniedException"
    assert reasons(strict) == [("denied", "Requests from web pages are not taken.")]


def test_a_sender_is_known_by_its_role_and_name(strict):
    url = strict.url(QUEUE)
    worker = strict.client(strict.key("worker", "worker-1"))
    for name in ("web-shop", "billing"):
        strict.client(strict.key("producer", name)).send_message(QueueUrl=url, MessageBody=name)
    worker.send_message(QueueUrl=url, MessageBody="worker-1")
    answer = worker.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["SenderId"])
    senders = {message["Body"]: message["Attributes"]["SenderId"] for message in answer["Messages"]}
    ids = {name: sender.partition(":") for name, sender in senders.items()}
    assert [id_[2] for id_ in ids.values()] == list(ids)
    assert all(id_[0].startswith("AROA") and len(id_[0]) == 21 for id_ in ids.values())
    assert ids["web-shop"][0] == ids["billing"][0] != ids["worker-1"][0]


def test_a_key_that_looks_like_an_account_is_not_one(strict):
    key = strict.key("admin", access_key="123456789012")
    assert "/000000000000/" in strict.client(key).create_queue(QueueName="mine")["QueueUrl"]


def test_keys_that_others_could_have_read_let_nobody_in(strict, refusal):
    client = strict.client(strict.key("admin"))
    strict.ring.path.chmod(0o644)
    assert refusal(client.list_queues) == (503, "ServiceUnavailable")
    assert "others may look into the key file" in strict.audit()[0]["reason"]
    strict.ring.path.chmod(0o600)
    assert client.list_queues()["QueueUrls"]


def test_a_strict_broker_tells_anybody_that_it_is_well_and_nobody_its_queues(strict):
    for path, status in (("/health", "alive"), ("/ready", "ready")):
        answer = strict.send(AWSRequest("GET", strict.endpoint_url + path, headers={"Host": "any.name"}))
        told = json.loads(answer.body)
        assert (answer.status, told["status"]) == (200, status)
        assert "queues" not in told


def test_the_audit_holds_no_secret_no_signature_and_no_body(strict, json_request, sign):
    key = strict.key("producer", session_token=Secret("token-text"), expires_ms=wall_ms() - 1)
    secret = strict.ring.find(key.access_key).secret.reveal()
    body = json_request(strict, "SendMessage", QueueUrl=strict.url(QUEUE), MessageBody="body-text")
    request = sign(body, key)
    strict.send(request)
    path = strict.data / "audit.jsonl"
    text = path.read_text()
    signature = request.headers["Authorization"].rpartition("Signature=")[2]
    assert key.access_key in text
    assert not [found for found in (secret, "token-text", "body-text", signature) if found in text]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_strangers_key_id_is_shown_as_it_is_only_if_it_is_harmless(strict, json_request, sign):
    request = sign(json_request(strict, "ListQueues"), strict.key("admin"))
    day = datetime.now(UTC).strftime("%Y%m%d")
    header = request.headers["Authorization"]
    request.headers["Authorization"] = header.replace("AKIA0000000000000000", "A" * 5000).replace(day, day)
    assert strict.send(request).status == 400
    assert max(len(str(value)) for value in strict.audit()[0].values()) <= 300
