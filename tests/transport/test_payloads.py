"""Bodies too large for SQS: kept in a folder or a bucket, found again, deleted, and never fetched from elsewhere."""

import json
import os
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from celery import Celery

from amply import envelope
from amply.errors import AmplyError
from amply.transport import payloads
from amply.transport.faults import SqsFault, Transient, Unreachable
from amply.transport.payloads import FolderStore, PayloadUnusable, S3Store, is_pointer, store_for

BODY = "Grüße, 世界 " * 50_000
SIZED = {"ExtendedPayloadSize": {"DataType": "Number", "StringValue": "900000"}}
HOUR_S = 3600


class Bucket(ThreadingHTTPServer):
    """As much of S3 as a payload store needs, at /bucket/key on loopback. `refusal`: an answer to everything."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), BucketHandler)
        self.objects = {}
        self.refusal = None


class BucketHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, objects = self.path.partition("?")[0], self.server.objects
        if self.server.refusal:
            self.answer(*self.server.refusal)
        elif self.command == "PUT":
            objects[path] = body
            self.answer(200, b"")
        elif self.command == "DELETE":
            objects.pop(path, None)
            self.answer(204, b"")
        elif path in objects:
            self.answer(200, objects[path])
        else:
            self.answer(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")

    def do_PUT(self):
        self.do_GET()

    def do_DELETE(self):
        self.do_GET()

    def answer(self, status, body):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def bucket(monkeypatch):
    server = Bucket()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept" / "payloads"


def file_pointer(name):
    return json.dumps(["amply.PayloadFilePointer", {"fileName": name}])


def s3_pointer(bucket, key):
    return json.dumps(["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": bucket, "s3Key": key}])


def test_a_folder_gives_back_what_it_was_given(folder):
    store = store_for(folder.as_uri())
    pointer = store.put(BODY)
    assert is_pointer(pointer, SIZED)
    assert store_for(folder.as_uri()).get(pointer) == BODY
    store.delete(pointer)
    store.delete(pointer)
    assert list(folder.iterdir()) == []


def test_payloads_are_for_their_owner_alone(folder):
    FolderStore(folder).put("x")
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_payload_has_its_name_only_once_its_bytes_are_safe(folder, monkeypatch):
    steps = []
    real_fsync = os.fsync

    def fsync(descriptor):
        steps.append(sorted(path.suffix for path in folder.iterdir()) if folder.exists() else None)
        real_fsync(descriptor)

    monkeypatch.setattr(payloads.os, "fsync", fsync)
    FolderStore(folder).put("x")
    # The folder's own name, then the bytes under another name, then the final name.
    assert steps == [[], [".part"], [""]]


def test_a_payload_that_cannot_be_written_is_unreachable_and_leaves_nothing(folder, monkeypatch):
    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    folder.mkdir(parents=True)
    monkeypatch.setattr(payloads.os, "fsync", full_disk)
    with pytest.raises(Unreachable, match=r"Cannot store a payload in .*: No space left on device\. Check"):
        FolderStore(folder).put("x")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/hostname", "..", "", "A" * 32, "a" * 31, "a" * 32 + "\n", "a" * 32 + ".part", "a" * 30 + "/b"],
)
def test_a_pointer_that_leads_out_of_the_folder_is_not_followed(folder, name):
    store = FolderStore(folder)
    store.put("x")
    (folder.parent / "secret").write_text("secret")
    for use in (store.get, store.delete):
        with pytest.raises(PayloadUnusable, match="it was not opened"):
            use(file_pointer(name))
    assert (folder.parent / "secret").exists()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[]",
        "[" * 3000,
        '["amply.PayloadFilePointer"]',
        '["amply.PayloadFilePointer", {"fileName": 1}]',
        '["amply.PayloadFilePointer", ["a"]]',
        '["java.lang.Runtime", {"fileName": "x"}]',
        file_pointer("a" * 5000),
    ],
)
def test_a_body_that_is_no_pointer_is_refused_as_one(folder, body):
    assert not is_pointer(body, SIZED)
    with pytest.raises(PayloadUnusable, match="does not point to a file"):
        FolderStore(folder).get(body)


def test_a_pointer_without_its_attribute_is_a_plain_message():
    assert not is_pointer(file_pointer("a" * 32), {})


def test_a_store_refuses_the_other_kind_s_pointers(folder):
    with pytest.raises(PayloadUnusable, match="does not point to a file"):
        FolderStore(folder).get(s3_pointer("bucket", "key"))
    with pytest.raises(PayloadUnusable, match="does not point to an object in s3://bucket"):
        S3Store("bucket").get(file_pointer("a" * 32))


def test_a_payload_that_is_gone_or_damaged_says_so(folder):
    store = FolderStore(folder)
    gone, damaged = store.put("x"), store.put("y")
    store.delete(gone)
    (file,) = folder.iterdir()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PayloadUnusable, match="deleted, or never there"):
        store.get(gone)
    with pytest.raises(PayloadUnusable, match="damaged: it is not UTF-8"):
        store.get(damaged)


def test_a_folder_that_cannot_be_read_is_unreachable(folder):
    store = FolderStore(folder)
    store.put("x")
    (file,) = folder.iterdir()
    file.unlink()
    file.mkdir()
    with pytest.raises(Unreachable, match="Cannot read a payload"):
        store.get(file_pointer(file.name))
    with pytest.raises(Unreachable, match="Cannot delete a payload"):
        store.delete(file_pointer(file.name))


def test_a_sweep_removes_what_is_old_and_ours(folder):
    now_s = 2_000_000_000
    store = FolderStore(folder, now_ms=lambda: now_s * 1000)
    assert store.sweep(HOUR_S) == 0
    ages_s = {"a" * 32: HOUR_S + 1, "b" * 32: HOUR_S - 1, "c" * 32 + ".part": HOUR_S + 1, "notes.txt": 9 * HOUR_S}
    folder.mkdir(parents=True)
    for name, age_s in ages_s.items():
        (folder / name).write_text("x")
        os.utime(folder / name, (now_s - age_s, now_s - age_s))
    assert store.sweep(HOUR_S) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["b" * 32, "notes.txt"]


def test_a_bucket_gives_back_what_it_was_given(bucket):
    store = store_for("s3://jobs/payloads/celery/")
    pointer = store.put(BODY)
    (path,) = bucket.objects
    assert path.startswith("/jobs/payloads/celery/")
    assert bucket.objects[path] == BODY.encode()
    assert json.loads(pointer) == [
        "software.amazon.payloadoffloading.PayloadS3Pointer",
        {"s3BucketName": "jobs", "s3Key": path.removeprefix("/jobs/")},
    ]
    assert store_for("s3://jobs/payloads/celery").get(pointer) == BODY
    store.delete(pointer)
    store.delete(pointer)
    assert bucket.objects == {}


@pytest.mark.parametrize(
    ("elsewhere", "key"),
    [("others", "payloads/x"), ("jobs", "secrets/x"), ("jobs", "payloads/"), ("jobs", "payloadsx")],
)
def test_a_pointer_that_leads_out_of_the_bucket_is_not_followed(bucket, elsewhere, key):
    bucket.objects[f"/{elsewhere}/{key}"] = b"secret"
    store = S3Store("jobs", "payloads")
    for use in (store.get, store.delete):
        with pytest.raises(PayloadUnusable, match="points outside the payload store s3://jobs/payloads/"):
            use(s3_pointer(elsewhere, key))
    assert bucket.objects == {f"/{elsewhere}/{key}": b"secret"}


def test_an_object_that_is_gone_or_damaged_says_so(bucket):
    bucket.objects["/jobs/damaged"] = b"\xff\xfe"
    with pytest.raises(PayloadUnusable, match="s3://jobs/gone is gone"):
        S3Store("jobs").get(s3_pointer("jobs", "gone"))
    with pytest.raises(PayloadUnusable, match="s3://jobs/damaged is damaged"):
        S3Store("jobs").get(s3_pointer("jobs", "damaged"))


def test_s3_s_refusals_are_told_as_sqs_s_are(bucket):
    bucket.refusal = (403, b"<Error><Code>AccessDenied</Code><Message>not yours</Message></Error>")
    with pytest.raises(SqsFault, match=r"PutObject.*AccessDenied: not yours .payload store s3://jobs.") as refused:
        S3Store("jobs").put("x")
    assert not isinstance(refused.value, Transient)
    bucket.refusal = (503, b"<Error><Code>ServiceUnavailable</Code><Message>later</Message></Error>")
    with pytest.raises(Transient, match="later"):
        unhurried(S3Store("jobs")).put("x")


def test_a_bucket_that_nobody_serves_is_unreachable(monkeypatch, bucket, unused_port):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused_port}")
    with pytest.raises(Unreachable, match="PutObject in the payload store s3://jobs failed"):
        unhurried(S3Store("jobs")).put("x")


def test_a_process_after_a_fork_makes_its_own_client(bucket, monkeypatch):
    store = S3Store("jobs")
    first = store._client()
    assert store._client() is first
    monkeypatch.setattr(payloads.os, "getpid", lambda: -1)
    second = store._client()
    assert second is not first
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/x", "is of a kind that does not exist"),
        ("/srv/payloads", "is of a kind that does not exist"),
        ("", "is of a kind that does not exist"),
        ("file:payloads", "names no absolute folder"),
        ("file://payloads/x", "names no absolute folder"),
        ("file://", "names no absolute folder"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket/a?b=c", "has a query"),
    ],
)
def test_a_url_that_names_no_store_is_refused_with_the_two_that_do(url, reason):
    with pytest.raises(AmplyError, match=reason) as refused:
        store_for(url)
    assert "file:///absolute/folder or s3://bucket/prefix" in str(refused.value)


def test_a_folder_s_url_may_have_escaped_characters(tmp_path):
    store_for((tmp_path / "with a space").as_uri()).put("x")
    assert (tmp_path / "with a space").is_dir()


def test_a_job_over_its_queue_s_limit_travels_by_the_store_and_leaves_a_pointer_in_the_queue(folder, broker, sqs):
    app = Celery("large", set_as_current=False)
    app.conf.update(
        broker_url="sqs://test:test@",
        broker_transport="amply.transport:Transport",
        broker_transport_options={
            "endpoint_url": broker.endpoint_url,
            "region": "eu-central-1",
            "payload_store": folder.as_uri(),
        },
    )
    app.send_task("tasks.note", ("x" * 300_000,), queue="amply-celery")
    app.close()

    url = sqs.get_queue_url(QueueName="amply-celery")["QueueUrl"]
    (message,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert len(message["Body"]) < 100
    assert is_pointer(message["Body"], message["MessageAttributes"])
    kept = store_for(folder.as_uri()).get(message["Body"])
    assert message["MessageAttributes"]["ExtendedPayloadSize"]["StringValue"] == str(len(kept))
    assert envelope.job(envelope.read(kept)).args == ["x" * 300_000]


@pytest.fixture
def unused_port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), BucketHandler)
    server.server_close()
    return server.server_address[1]


def unhurried(store):
    """The store with a client that does not try again: its pauses are botocore's, and real."""
    import botocore.session
    from botocore.config import Config

    client = botocore.session.get_session().create_client("s3", config=Config(retries={"total_max_attempts": 1}))
    store._client_of = (os.getpid(), client)
    return store
