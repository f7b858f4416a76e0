"""What broker_transport_options may say, and what is said to a value that cannot work."""

import pytest

from amply.transport.options import BackoffPolicy, OptionError, Options


def test_without_options_there_are_defaults():
    options = Options.read({})
    assert (options.wait_time_seconds, options.lease_seconds, options.message_format) == (20, 120, "brief")
    assert options.backoff == BackoffPolicy(first_s=5, factor=2, most_s=900, jitter=0.2)


def test_options_of_kombu_that_are_not_ours_are_left_alone():
    told = {"polling_interval": 1, "client-config": {"connect_timeout": 5}, "fetch_message_attributes": ["All"]}
    assert Options.read(told) == Options()


def test_predefined_queues_are_read_as_kombu_takes_them():
    told = {"jobs": {"url": "http://here/jobs", "access_key_id": "a", "backoff_policy": {1: 10}}}
    assert Options.read({"predefined_queues": told}).predefined_queues["jobs"].url == "http://here/jobs"


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"wait_time_seconds": 21}, "wait_time_seconds is 21; it must be between 0 and 20"),
        ({"wait_time_seconds": -1}, "wait_time_seconds"),
        ({"wait_time_seconds": "20"}, "wait_time_seconds"),
        ({"wait_time_seconds": True}, "wait_time_seconds"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"lease_seconds": 43_201}, "lease_seconds"),
        ({"visibility_timeout": 43_201}, "visibility_timeout"),
        ({"starvation_guard": -1}, "starvation_guard"),
        ({"message_format": "xml"}, "message_format"),
        ({"backoff": {"first_s": -1}}, "backoff.first_s"),
        ({"backoff": {"first_s": 10, "most_s": 5}}, "backoff.most_s is 5.0; it must be between 10"),
        ({"backoff": {"factor": 0.5}}, "backoff.factor"),
        ({"backoff": {"jitter": 0.5}}, "backoff.jitter"),
        ({"backoff": {"first_s": float("nan")}}, "backoff.first_s"),
        ({"backoff": {"first": 1}}, "first"),
        ({"queue_backoff": {"jobs": {"factor": 0}}}, r"queue_backoff\[jobs\].factor"),
        ({"task_backoff": {"tasks.add": {"factor": 0}}}, r"task_backoff\[tasks.add\].factor"),
        ({"predefined_queues": {"jobs": {}}}, "predefined_queues"),
        ({"queue_order": "high,low"}, "queue_order"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(told, named):
    with pytest.raises(OptionError, match=named) as refused:
        Options.read(told)
    assert refused.value.exit_code == 2
    assert refused.value.hint
