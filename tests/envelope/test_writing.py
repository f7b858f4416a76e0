"""Writing: every form is read again, by us and by stock kombu."""

import base64
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from envelope_samples import EMBEDDED, FORMS, TASK, StockChannel, call, payload
from envelope_worker import WORKER
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport import virtual

from amply.envelope import Form, foreign, job, read, write


@pytest.mark.parametrize("form", FORMS)
def test_a_job_comes_back_as_it_was_written(form: Form) -> None:
    message = payload()
    before = json.dumps(message)
    back = read(write(message, form))
    assert json.dumps(message) == before
    assert back["headers"] == message["headers"]
    assert back["properties"]["delivery_tag"] is None
    assert virtual.Message(back, channel=WORKER.channel).payload == call("https://example.com", n=1)
    assert WORKER.take(back) == "reserved"


@pytest.mark.parametrize("form", FORMS)
def test_stock_kombu_reads_every_form(form: Form) -> None:
    stock = StockChannel(outer_base64=True)
    message = virtual.Message(stock.read(write(payload(call("grüß €")), form)), channel=stock)
    assert message.payload == call("grüß €")
    assert message.headers["task"] == TASK
    assert message.delivery_tag == "r"


def test_the_default_form_is_the_one_of_the_brief() -> None:
    written = json.loads(write(payload(), "brief"))
    assert list(written) == ["body", "content-encoding", "content-type", "headers", "properties"]
    assert json.loads(base64.b64decode(written["body"])) == call("https://example.com", n=1)
    assert "delivery_tag" not in written["properties"]


def test_the_readable_form_shows_the_arguments_and_is_ascii() -> None:
    message = payload('[["grüß €\u2028"], {}, {}]'.encode(), note="naïve \x00 \uffff")
    written = write(message, "readable")
    assert written.isascii()
    assert json.loads(written)["body"] == '[["grüß €\u2028"], {}, {}]'
    assert read(written)["headers"]["note"] == "naïve \x00 \uffff"


@pytest.mark.parametrize(("body", "compression"), [(b"\x80\x04\xff", None), (b"text", "gzip")])
def test_what_is_no_text_stays_base64_in_the_readable_form(body: bytes, compression: str | None) -> None:
    written = json.loads(write(payload(body, compression=compression), "readable"))
    assert (base64.b64decode(written["body"]), written["properties"]["body_encoding"]) == (body, "base64")


def test_values_without_a_json_type_travel_in_headers_as_with_stock_kombu() -> None:
    class Reduced:
        def __json__(self) -> str:
            return "reduced"

    now = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    values = [now, now.date(), now.time(), Decimal("1.10"), uuid.UUID(int=7), b"text", b"\xff"]
    written = write(payload(values=values, reduced=Reduced()), "brief")
    assert read(written)["headers"]["values"] == values
    assert read(written)["headers"]["reduced"] == "reduced"
    assert StockChannel(outer_base64=False).read(written)["headers"]["values"] == values
    with pytest.raises(TypeError, match="a object cannot be written"):
        write(payload(value=object()), "brief")


def test_another_system_s_message_becomes_a_call_with_the_body_as_its_argument() -> None:
    made = foreign('{"Type": "Notification", "Message": "grüß"}' + "x" * 5000, task=TASK, message_id="m-1")
    for form in FORMS:
        back = read(write(made, form))
        assert WORKER.take(back) == "reserved"
        assert WORKER.request.args == ['{"Type": "Notification", "Message": "grüß"}' + "x" * 5000]
        assert WORKER.request.id == "m-1"
    assert len(made["headers"]["argsrepr"]) < 1100


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(JSON_VALUES, max_size=3),
    st.dictionaries(st.text(), JSON_VALUES, max_size=3),
    st.dictionaries(st.text().map(lambda name: f"x-{name}"), JSON_VALUES, max_size=3),
    st.sampled_from(FORMS),
)
def test_any_job_makes_the_round_trip(args: Any, kwargs: Any, headers: Any, form: Form) -> None:
    message = payload([args, kwargs, EMBEDDED], **headers)
    back = read(write(message, form))
    assert back["headers"] == message["headers"]
    assert virtual.Message(back, channel=WORKER.channel).payload == [args, kwargs, EMBEDDED]
    assert (job(back).args, job(back).kwargs) == (args, kwargs)
    assert WORKER.take(back) == "reserved"
