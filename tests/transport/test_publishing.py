"""What kombu hands over becomes one SQS message: its body, attributes, delay and group, and whether it fits."""

import base64
import json
import logging
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amply import envelope
from amply.broker.sqs import messages
from amply.broker.sqs.shapes import MessageAttributeValue
from amply.transport import faults, publishing
from amply.transport.payloads import FolderStore, is_pointer
from amply.transport.publishing import Label, MessageTooLarge, Outgoing, due_ms, label_of, prepare

NOW_MS = 1_800_000_000_000
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
KIB = 1024
TEXT = {"DataType": "String", "StringValue": "42"}


CALL = base64.b64encode(b"[[], {}, {}]").decode()


def payload(*, body=CALL, headers=None, **properties):
    """As kombu.transport.virtual.Channel._put gets it from Celery's `tasks.add.delay()`."""
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "tasks.add", "id": "id-1", "retries": 0, "eta": None} | (headers or {}),
        "properties": {"correlation_id": "id-1", "body_encoding": "base64", "delivery_tag": "t"} | properties,
    }


def prepared(message, **settings):
    defaults = {
        "form": "brief",
        "is_fifo": False,
        "now_ms": NOW_MS,
        "maximum_bytes": lambda: 256 * KIB,
        "payloads": None,
    }
    return prepare(message, **(defaults | settings))


def eta(seconds, zone=UTC):
    return (NOW + timedelta(seconds=seconds)).astimezone(zone).isoformat()


def envelope_of(outgoing):
    return envelope.read(outgoing.body)


def test_a_plain_job_is_its_envelope_and_nothing_else():
    message = payload()
    outgoing = prepared(message)
    assert outgoing.members() == {"MessageBody": envelope.write(message, "brief")}
    assert envelope_of(outgoing)["headers"]["task"] == "tasks.add"


@pytest.mark.parametrize("form", ["brief", "readable", "stock"])
def test_the_envelope_has_the_form_that_was_asked_for(form):
    assert prepared(payload(), form=form).body == envelope.write(payload(), form)


def test_the_payload_that_kombu_may_send_again_stays_as_it_is():
    message = payload(
        headers={"attempt": 2, "receive_count": 2}, message_attributes={"Customer": TEXT}, delay_seconds=5
    )
    before = pickle.loads(pickle.dumps(message))
    first = prepared(message)
    assert message == before
    assert prepared(message) == first


def test_the_number_of_failed_runs_moves_from_the_headers_into_an_attribute():
    outgoing = prepared(payload(headers={"attempt": 3, "receive_count": 1, "mine": 1}))
    assert outgoing.attributes == {"AmplyAttempts": {"DataType": "Number", "StringValue": "3"}}
    headers = envelope_of(outgoing)["headers"]
    assert "attempt" not in headers
    assert "receive_count" not in headers
    assert headers["mine"] == 1


@pytest.mark.parametrize("attempt", [0, -1, None, "3", True, 2.5])
def test_a_header_that_counts_no_runs_is_dropped(attempt):
    outgoing = prepared(payload(headers={"attempt": attempt}))
    assert outgoing.attributes == {}
    assert "attempt" not in envelope_of(outgoing)["headers"]


@pytest.mark.parametrize(
    ("seconds", "delay_s"),
    [(-5, 0), (0, 0), (0.001, 1), (0.999, 1), (1, 1), (59.1, 60), (899.5, 900), (901, 900), (86_400 * 365, 900)],
)
def test_a_time_to_start_becomes_a_delay_of_whole_seconds_up_to_fifteen_minutes_and_never_ends_too_early(
    seconds, delay_s
):
    assert prepared(payload(headers={"eta": eta(seconds)})).members()["DelaySeconds"] == delay_s


@pytest.mark.parametrize(
    "text",
    [
        eta(60),
        eta(60).removesuffix("+00:00"),
        eta(60).replace("+00:00", "Z"),
        eta(60, timezone(timedelta(hours=5, minutes=30))),
        eta(60, timezone(timedelta(hours=-11))),
    ],
)
def test_a_time_without_a_zone_is_utc_and_with_one_is_converted(text):
    assert due_ms(text) == NOW_MS + 60_000
    assert prepared(payload(headers={"eta": text})).delay_s == 60


@pytest.mark.parametrize("eta", ["soon", "", 17, None, ["2027-01-01"], "2027-13-01T00:00:00", "\ud800"])
def test_a_time_that_is_none_is_no_delay(eta):
    assert due_ms(eta) is None
    assert prepared(payload(headers={"eta": eta if eta != "\ud800" else "x"})).delay_s is None


@given(st.datetimes(timezones=st.none() | st.timezones()))
@example(datetime.min)  # noqa: DTZ901
@example(datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))))
@example(datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))
def test_every_time_that_python_can_write_has_its_milliseconds(moment):
    due = due_ms(moment.isoformat())
    assert due is not None
    assert 0 <= prepared(payload(headers={"eta": moment.isoformat()})).delay_s <= 900


@pytest.mark.parametrize("name", ["delay_seconds", "DelaySeconds"])
@pytest.mark.parametrize(("asked", "delay_s"), [(0, 0), (7, 7), (7.9, 7), ("7", 7), (900, 900), (-3, 0)])
def test_a_delay_is_taken_under_both_of_kombu_s_names(name, asked, delay_s):
    outgoing = prepared(payload(**{name: asked}))
    assert outgoing.members()["DelaySeconds"] == delay_s
    assert name not in envelope_of(outgoing)["properties"]


def test_a_delay_of_none_gives_way_to_the_other_name():
    assert prepared(payload(delay_seconds=None, DelaySeconds=9)).delay_s == 9
    assert prepared(payload(delay_seconds=None)).delay_s is None


def test_a_delay_beyond_fifteen_minutes_is_shortened_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        assert prepared(payload(delay_seconds=3600)).delay_s == 900
    (told,) = caplog.messages
    assert "delay_seconds of tasks.add[id-1] is 3600, and SQS takes at most 900" in told
    assert "countdown and eta may be longer" in told


@pytest.mark.parametrize("asked", ["soon", [], float("nan"), float("inf")])
def test_a_delay_that_is_no_number_is_refused_with_the_job(asked):
    with pytest.raises(ValueError, match=r"delay_seconds of tasks.add\[id-1\] is .*; it must be a number of seconds"):
        prepared(payload(delay_seconds=asked))


def test_of_a_delay_and_a_time_the_later_counts():
    assert prepared(payload(headers={"eta": eta(60)}, delay_seconds=90)).delay_s == 90
    assert prepared(payload(headers={"eta": eta(60)}, delay_seconds=30)).delay_s == 60


def test_a_job_for_a_fifo_queue_has_a_group_and_its_own_id():
    one, other = prepared(payload(), is_fifo=True), prepared(payload(), is_fifo=True)
    assert one.members()["MessageGroupId"] == "default"
    assert one.deduplication_id
    assert one.deduplication_id != other.deduplication_id


def test_a_publish_that_is_tried_again_keeps_its_deduplication_id():
    message = payload()
    assert prepared(message, is_fifo=True).deduplication_id == prepared(message, is_fifo=True).deduplication_id


def test_a_job_for_a_fifo_queue_keeps_the_group_and_id_that_it_was_given():
    outgoing = prepared(payload(MessageGroupId="customer-7", MessageDeduplicationId="order-9"), is_fifo=True)
    assert (outgoing.group_id, outgoing.deduplication_id) == ("customer-7", "order-9")
    # A copy of the message stays in its group, and must not be taken for the same message.
    properties = envelope_of(outgoing)["properties"]
    assert properties["MessageGroupId"] == "customer-7"
    assert "MessageDeduplicationId" not in properties


def test_a_fifo_queue_gets_no_delay_and_a_lost_one_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert prepared(payload(headers={"eta": eta(60)}), is_fifo=True).delay_s is None
        assert caplog.messages == []
        assert prepared(payload(delay_seconds=60), is_fifo=True).delay_s is None
    assert caplog.messages == [
        "tasks.add[id-1] goes without its delay of 60 s: a FIFO queue takes no delay per message"
    ]


def test_a_group_on_a_standard_queue_makes_it_a_fair_one():
    outgoing = prepared(payload(MessageGroupId="customer-7", MessageDeduplicationId="order-9"))
    assert outgoing.members().keys() == {"MessageBody", "MessageGroupId"}


def test_message_attributes_travel_beside_the_envelope():
    attributes = {"Customer": TEXT, "Trace": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
    outgoing = prepared(payload(message_attributes=attributes, headers={"attempt": 1}))
    assert outgoing.members()["MessageAttributes"] == {
        **attributes,
        "AmplyAttempts": {"DataType": "Number", "StringValue": "1"},
    }
    assert "message_attributes" not in envelope_of(outgoing)["properties"]


def test_what_a_copied_message_says_of_itself_is_not_said_twice():
    old = {"AmplyAttempts": TEXT, "ExtendedPayloadSize": TEXT, "Customer": TEXT}
    assert prepared(payload(message_attributes=old)).attributes == {"Customer": TEXT}


@pytest.mark.parametrize(
    "attributes",
    [
        ["Customer"],
        {"Customer": "42"},
        {"Customer": {"StringValue": "42"}},
        {"Customer": {"DataType": "String"}},
        {"Customer": {"DataType": "Number", "StringValue": 42}},
        {"Customer": {"DataType": "String", "StringValue": "42", "BinaryValue": b"42"}},
        {"Customer": {"DataType": "String", "StringValue": "42", "StringListValues": []}},
        {42: TEXT},
        {f"Name{number}": TEXT for number in range(9)},
    ],
)
def test_attributes_that_sqs_cannot_take_are_refused_with_an_example(attributes):
    with pytest.raises(ValueError, match=r"message_attributes of tasks.add\[id-1\] .* at most 8, like \{\"Customer\""):
        prepared(payload(message_attributes=attributes))


names = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True).filter(
    lambda name: name not in {"AmplyAttempts", "ExtendedPayloadSize"}
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
values = st.builds(lambda text: {"DataType": "String", "StringValue": text}, texts) | st.builds(
    lambda data: {"DataType": "Binary.png", "BinaryValue": data}, st.binary(max_size=40)
)


@given(texts, st.dictionaries(names, values, max_size=8))
def test_a_size_is_what_sqs_counts(body, attributes):
    counted = {
        name: MessageAttributeValue(value["DataType"], value.get("StringValue"), value.get("BinaryValue"))
        for name, value in attributes.items()
    }
    assert Outgoing(body, attributes).size_bytes == messages.size_bytes(body, counted)


def of_size(size_bytes, **settings):
    """Prepare a message of exactly so many bytes."""

    def message(text):
        return payload(body=json.dumps([[text], {}, {}]), body_encoding="utf-8")

    spare = size_bytes - prepared(message(""), form="readable").size_bytes
    return prepared(message("x" * spare), form="readable", **settings)


def test_a_queue_is_asked_for_its_limit_only_near_it():
    def unexpected():
        raise AssertionError("a request")

    assert of_size(200 * KIB, maximum_bytes=unexpected).size_bytes == 200 * KIB
    with pytest.raises(AssertionError, match="a request"):
        of_size(200 * KIB + 1, maximum_bytes=unexpected)


def test_a_message_may_be_as_large_as_the_queue_s_limit():
    assert of_size(256 * KIB).size_bytes == 256 * KIB


def test_a_message_over_the_limit_is_refused_with_job_size_limit_and_the_way_out():
    with pytest.raises(MessageTooLarge) as refused:
        of_size(256 * KIB + 1)
    error = refused.value
    assert (error.task, error.id, error.size_bytes, error.limit_bytes) == ("tasks.add", "id-1", 262_145, 262_144)
    assert str(error) == (
        "tasks.add[id-1] has 262,145 bytes, 0 of them in message attributes; its queue takes 262,144.\n"
        "Pass a reference (a key, a path, a row's id) instead of the data, or declare a store: "
        'broker_transport_options = {"payload_store": "s3://bucket/prefix"}.'
    )


def test_a_message_over_the_limit_is_not_tried_again_by_celery():
    assert not issubclass(MessageTooLarge, faults.CONNECTION_ERRORS + faults.CHANNEL_ERRORS)


def test_the_refusal_survives_the_way_out_of_a_pool_process():
    error = MessageTooLarge("too large", hint="do", label=Label("t", "i"), size_bytes=2, limit_bytes=1)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_attributes_count_for_the_limit():
    attributes = {"Notes": {"DataType": "String", "StringValue": "é" * (128 * KIB)}}
    with pytest.raises(MessageTooLarge, match=r"has 262,\d+ bytes, 262,155 of them in message attributes"):
        prepared(payload(message_attributes=attributes))


def test_a_message_over_the_limit_goes_to_the_payload_store(tmp_path):
    store = FolderStore(tmp_path)
    outgoing = of_size(256 * KIB + 1, payloads=store)
    assert outgoing.attributes == {"ExtendedPayloadSize": {"DataType": "Number", "StringValue": "262145"}}
    assert is_pointer(outgoing.body, outgoing.attributes)
    assert outgoing.size_bytes < KIB
    kept = store.get(outgoing.body)
    assert len(kept) == 262_145
    assert envelope.read(kept)["headers"]["id"] == "id-1"


def test_a_stored_message_keeps_its_delay_group_and_attributes(tmp_path):
    large = payload(
        body="x" * 300_000, body_encoding="utf-8", MessageGroupId="g", message_attributes={"Customer": TEXT}
    )
    large["headers"] |= {"eta": eta(60), "attempt": 2}
    outgoing = prepared(large, payloads=FolderStore(tmp_path))
    assert (outgoing.delay_s, outgoing.group_id) == (60, "g")
    assert outgoing.attributes.keys() == {"Customer", "AmplyAttempts", "ExtendedPayloadSize"}


def test_a_message_that_fits_is_not_stored(tmp_path):
    of_size(256 * KIB, payloads=FolderStore(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_attributes_over_the_limit_are_refused_and_nothing_is_stored(tmp_path):
    attributes = {"Notes": {"DataType": "String", "StringValue": "x" * 256 * KIB}}
    with pytest.raises(MessageTooLarge, match="Pass a reference") as refused:
        prepared(payload(message_attributes=attributes), payloads=FolderStore(tmp_path))
    assert "payload_store" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("headers", [None, {}, "x", {"task": 1, "id": None}])
def test_a_message_of_plain_kombu_has_no_job_s_name(headers):
    assert str(label_of({"headers": headers})) == "a message that is no Celery task"


def test_a_message_of_plain_kombu_can_be_sent():
    message = {"body": CALL, "content-type": "application/json", "content-encoding": "utf-8", "headers": None}
    outgoing = prepared({**message, "properties": {"body_encoding": "base64"}})
    assert publishing.ATTEMPTS not in outgoing.attributes
    assert outgoing.body
