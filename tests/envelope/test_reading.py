"""Reading what stock kombu and other languages' clients write."""

import base64
import bz2
import json
import pickle
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from envelope_samples import ID, PROTOCOL_1, TASK, StockChannel, b64, call, payload
from envelope_worker import WORKER
from kombu.transport import virtual

from amply.envelope import Job, Unreadable, job, read, write

SURROGATE = "\\ud800"
OTHERS = {
    "node": {
        "body": b64(PROTOCOL_1),
        "headers": {},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": {"body_encoding": "base64", "correlation_id": ID, "delivery_info": {"priority": 0}},
    },
    "php": {"body": b64(PROTOCOL_1), "headers": [], "content-type": "application/json", "properties": []},
    "ruby": {"body": base64.encodebytes(json.dumps(PROTOCOL_1).encode() * 1).decode(), "properties": {}},
    "go": {"body": b64(PROTOCOL_1 | {"args": []}), "properties": {"delivery_info": None, "delivery_tag": 7}},
    "text": {"body": json.dumps(PROTOCOL_1)},
    "no args": {"body": json.dumps({"id": ID, "task": TASK})},
    "protocol 2": {"body": b64(call(1)), "headers": {"task": TASK, "id": ID}},
    "hybrid": {"body": b64(PROTOCOL_1), "headers": {"task": TASK, "id": ID}},
    "number too great": {"body": '[[1e999, NaN, "' + SURROGATE + '"], {}, {}]', "headers": {"task": TASK, "id": ID}},
}


@pytest.mark.parametrize("outer_base64", [True, False])
@pytest.mark.parametrize("body_encoding", ["base64", "utf-8", None])
@pytest.mark.parametrize("content", [b'[["gr\\u00fc\xc3\xbc\xc3\x9f"], {}, {}]', "text"])
def test_every_form_of_stock_kombu_is_read(outer_base64: bool, body_encoding: str | None, content: Any) -> None:
    stock = StockChannel(outer_base64=outer_base64)
    text = content.decode() if isinstance(content, bytes) else '[["a"], {}, {}]'
    message = payload(custom=datetime(2030, 1, 2, tzinfo=UTC))
    message["body"], message["properties"]["body_encoding"] = stock.encode_body(text, body_encoding)
    stock._put("celery", message)
    back = read(stock.sent[0])
    assert virtual.Message(back, channel=WORKER.channel).body == text.encode()
    assert back["headers"]["custom"] == datetime(2030, 1, 2, tzinfo=UTC)
    assert back["properties"]["body_encoding"] == (body_encoding or "utf-8")
    assert WORKER.take(back) == "reserved"


def test_a_binary_body_that_stock_kombu_marks_is_read() -> None:
    stock = StockChannel(outer_base64=False)
    message = payload() | {"body": pickle.dumps(call()), "content-type": "application/x-python-serialize"}
    message["properties"]["body_encoding"] = "utf-8"
    stock._put("celery", message)
    assert virtual.Message(read(stock.sent[0]), channel=WORKER.channel).body == pickle.dumps(call())


@pytest.mark.parametrize("message", OTHERS.values(), ids=OTHERS)
def test_a_message_of_another_language_s_client_runs(message: dict[str, Any]) -> None:
    back = read(json.dumps(message))
    assert WORKER.take(back) == "reserved"
    assert WORKER.request.id == job(back).id == ID
    assert job(back).unread is None


@pytest.mark.parametrize(
    ("eta", "outcome"),
    [
        ("1970-01-01", "reserved"),
        ("9998-12-31T23:59:59.123456789Z", "scheduled"),
        ("9998-12-31T23:59:59-23:59", "scheduled"),
        ("9998-12-31 23:59", "scheduled"),
    ],
)
def test_any_time_that_is_let_through_is_one_that_a_worker_can_wait_for(eta: str, outcome: str) -> None:
    assert WORKER.take(read(write(payload(eta=eta, expires="9998-12-31T23:59:59"), "brief"))) == outcome
    assert WORKER.take(read(write(payload(expires="1970-01-01T00:00:00+14:00"), "brief"))) == "discarded"


def test_text_is_not_taken_for_base64_however_many_letters_it_has() -> None:
    for length in range(8):
        message = {"body": json.dumps(PROTOCOL_1 | {"args": ["x" * length]})}
        assert read(json.dumps(message))["body"] == message["body"]


def test_of_two_members_with_one_name_the_last_counts() -> None:
    assert read('{"headers": {"task": 1}, ' + json.dumps(payload())[1:])["headers"]["task"] == TASK


def test_a_compressed_body_is_looked_into() -> None:
    for name, compress in (("gzip", zlib.compress), ("application/x-bz2", bz2.compress)):
        back = read(write(payload(compress(json.dumps(call()).encode()), compression=name), "brief"))
        assert WORKER.take(back) == "reserved"
        assert job(back).args == []
        with pytest.raises(Unreadable, match="body must be a list of args"):
            read(write(payload(compress(b"5"), compression=name), "brief"))
    assert job(read(write(payload(b"?", compression="brotli"), "brief"))).unread


def test_a_pickle_is_an_envelope_and_is_never_opened() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return pytest.fail, ("a pickle was opened",)

    message = payload(pickle.dumps(Bomb())) | {"content-type": "application/x-python-serialize"}
    back = read(json.dumps(message))
    assert WORKER.take(back).startswith("invalid: Refusing to deserialize")
    assert job(back) == Job(
        task=TASK,
        id=ID,
        retries=0,
        routing_key="celery",
        content_type="application/x-python-serialize",
        unread="the content is not application/json",
    )


def test_a_job_tells_what_its_message_says() -> None:
    told = job(payload(eta="2030-01-01T00:00:00+00:00", argsrepr="x" * 9999, root_id="r", origin="gen1@laptop"))
    assert (told.args, told.kwargs, told.unread) == (["https://example.com"], {"n": 1}, None)
    assert (told.eta, told.root_id, told.origin) == ("2030-01-01T00:00:00+00:00", "r", "gen1@laptop")
    assert told.argsrepr == "x" * 4096


def test_a_message_of_a_mebibyte_is_read() -> None:
    assert WORKER.take(read(write(payload(call(["x"] * 150_000)), "brief"))) == "reserved"
