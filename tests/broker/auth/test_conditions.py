"""Conditions, as the tables of the IAM guide have them."""

import time

import pytest

from amply.broker.auth.conditions import parse_conditions
from amply.broker.auth.operators import OPERATORS
from amply.broker.auth.policy_errors import PolicyError


def holds(operator: str, key: str, values, *given: str, in_doubt: bool = False) -> bool:
    """Whether a condition holds for a request in which its key has these values."""
    (condition,) = parse_conditions({operator: {key: values}}, "Condition")
    return condition.holds({key.lower(): given}, in_doubt=in_doubt)


NAME, ARN, IP, NOW, EPOCH, TLS = (
    "aws:username",
    "aws:SourceArn",
    "aws:SourceIp",
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:SecureTransport",
)
TOPIC = "arn:aws:sns:eu-central-1:123456789012:news"

# operator, key, the policy's values, the request's value, whether it holds
ONE_VALUE = [
    ("StringEquals", NAME, "ada", "ada", True),
    ("StringEquals", NAME, "ada", "Ada", False),
    ("StringEquals", NAME, "a*", "ada", False),
    ("StringEquals", NAME, ["bob", "ada"], "ada", True),
    ("StringEquals", NAME, ["bob", "eve"], "ada", False),
    ("StringNotEquals", NAME, "ada", "ada", False),
    ("StringNotEquals", NAME, "ada", "Ada", True),
    ("StringNotEquals", NAME, ["bob", "ada"], "ada", False),
    ("StringNotEquals", NAME, ["bob", "eve"], "ada", True),
    ("StringEqualsIgnoreCase", NAME, "ADA", "ada", True),
    ("StringEqualsIgnoreCase", NAME, "ADA*", "ada", False),
    ("StringNotEqualsIgnoreCase", NAME, "ADA", "ada", False),
    ("StringNotEqualsIgnoreCase", NAME, "bob", "ada", True),
    ("StringLike", NAME, "a?a", "ada", True),
    ("StringLike", NAME, "A*", "ada", False),
    ("StringLike", NAME, ["b*", "*a"], "ada", True),
    ("StringNotLike", NAME, ["b*", "*a"], "ada", False),
    ("StringNotLike", NAME, "b*", "ada", True),
    ("StringEquals", TLS, "true", "true", True),
    ("StringLike", IP, "10.*", "10.1.2.3", True),
    ("ArnEquals", ARN, TOPIC, TOPIC, True),
    ("ArnEquals", ARN, "arn:aws:sns:*:123456789012:*", TOPIC, True),
    ("ArnEquals", ARN, f"{TOPIC}-2", TOPIC, False),
    ("ArnLike", ARN, "arn:aws:s3:*:*:bucket", "arn:aws:s3:::bucket", True),
    ("ArnLike", ARN, "arn:aws:sns:*:*:new?", TOPIC, True),
    ("ArnLike", ARN, "arn:aws:sns:*:*:NEWS", TOPIC, False),
    ("ArnNotEquals", ARN, TOPIC, TOPIC, False),
    ("ArnNotEquals", ARN, f"{TOPIC}2", TOPIC, True),
    ("ArnNotLike", ARN, "arn:aws:sns:*:*:n*", TOPIC, False),
    ("ArnNotLike", ARN, "arn:aws:sqs:*:*:n*", TOPIC, True),
    ("NumericEquals", EPOCH, "1700000000", "1700000000", True),
    ("NumericEquals", EPOCH, 1700000000, "1700000000.0", True),
    ("NumericEquals", EPOCH, "-1", "1", False),
    ("NumericNotEquals", EPOCH, "1700000000", "1700000000", False),
    ("NumericNotEquals", EPOCH, ["1", "2"], "3", True),
    ("NumericLessThan", EPOCH, "10", "9", True),
    ("NumericLessThan", EPOCH, "10", "10", False),
    ("NumericLessThanEquals", EPOCH, "10", "10", True),
    ("NumericLessThanEquals", EPOCH, "10", "10.5", False),
    ("NumericGreaterThan", EPOCH, "9", "10", True),
    ("NumericGreaterThan", EPOCH, "10", "10", False),
    ("NumericGreaterThanEquals", EPOCH, "10", "10", True),
    ("NumericGreaterThanEquals", EPOCH, "10", "9", False),
    ("DateEquals", NOW, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", True),
    ("DateEquals", NOW, "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00Z", True),
    ("DateEquals", NOW, "2026-01-31T12:00:00", "2026-01-31T12:00:00.000Z", True),
    ("DateEquals", NOW, "1769860800", "2026-01-31T12:00:00Z", True),
    ("DateEquals", EPOCH, "2026-01-31T12:00:00Z", "1769860800", True),
    ("DateEquals", NOW, "2026-01-31T12:00:00", "2026-01-31T12:00:00+01:00", False),
    ("DateNotEquals", NOW, "2026-01-31", "2026-01-31T00:00:00Z", False),
    ("DateNotEquals", NOW, "2026-01-31", "2026-01-31T00:00:01Z", True),
    ("DateLessThan", NOW, "2026-01-31T12:00:00Z", "2026-01-31T11:59:59Z", True),
    ("DateLessThan", NOW, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", False),
    ("DateLessThanEquals", NOW, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", True),
    ("DateLessThanEquals", NOW, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.001Z", False),
    ("DateGreaterThan", NOW, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.001Z", True),
    ("DateGreaterThan", NOW, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", False),
    ("DateGreaterThanEquals", NOW, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", True),
    ("DateGreaterThanEquals", NOW, "2026-01-31T12:00:00Z", "2026-01-31T11:59:59Z", False),
    ("Bool", TLS, "true", "true", True),
    ("Bool", TLS, True, "true", True),
    ("Bool", TLS, "False", "false", True),
    ("Bool", TLS, "false", "true", False),
    ("IpAddress", IP, "203.0.113.0/24", "203.0.113.255", True),
    ("IpAddress", IP, "203.0.113.0/24", "203.0.114.0", False),
    ("IpAddress", IP, "203.0.113.7", "203.0.113.7", True),
    ("IpAddress", IP, "203.0.113.7", "203.0.113.8", False),
    ("IpAddress", IP, ["10.0.0.0/8", "2001:db8::/32"], "2001:db8:1::7", True),
    ("IpAddress", IP, "2001:DB8:1234:5678::/64", "2001:db8:1234:5679::1", False),
    ("IpAddress", IP, "203.0.113.0/24", "::ffff:203.0.113.9", True),
    ("IpAddress", IP, "::/0", "203.0.113.9", False),
    ("IpAddress", IP, "0.0.0.0/0", "::1", False),
    ("NotIpAddress", IP, "203.0.113.0/24", "203.0.113.9", False),
    ("NotIpAddress", IP, "203.0.113.0/24", "::ffff:203.0.113.9", False),
    ("NotIpAddress", IP, ["10.0.0.0/8", "203.0.113.0/24"], "192.0.2.1", True),
]


@pytest.mark.parametrize(("operator", "key", "values", "value", "expected"), ONE_VALUE)
def test_an_operator_compares_as_iam_does(operator, key, values, value, expected):
    assert holds(operator, key, values, value) is expected
    assert holds(f"{operator}IfExists", key, values, value) is expected
    # With one value in the request, both of these say what the bare operator says.
    assert holds(f"ForAllValues:{operator}", key, values, value) is expected
    assert holds(f"ForAnyValue:{operator}", key, values, value) is expected


def test_every_operator_is_in_the_table_with_both_outcomes():
    assert {(row[0], row[4]) for row in ONE_VALUE} == {(name, is_met) for name in OPERATORS for is_met in (True, False)}


VALID = {"Numeric": (EPOCH, "1"), "Date": (NOW, "1"), "Bool": (TLS, "true"), "Arn": (ARN, TOPIC)}
VALID |= {"Ip": (IP, "::1"), "NotIp": (IP, "::1"), "String": (NAME, "ada")}


@pytest.mark.parametrize("operator", OPERATORS)
def test_where_a_key_is_absent_only_negated_operators_hold(operator):
    key, value = next(pair for family, pair in VALID.items() if operator.startswith(family))
    is_negated = "Not" in operator
    assert holds(operator, key, value) is is_negated
    assert holds(f"{operator}IfExists", key, value) is True
    assert holds(f"ForAllValues:{operator}", key, value) is True
    assert holds(f"ForAnyValue:{operator}", key, value) is False
    assert holds(f"ForAllValues:{operator}IfExists", key, value) is True
    assert holds(f"ForAnyValue:{operator}IfExists", key, value) is True


def test_a_time_without_an_offset_is_utc_wherever_the_broker_runs(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert holds("DateEquals", NOW, "2026-01-31T12:00:00", "2026-01-31T12:00:00Z")
    time.tzset()


TAGS = "aws:TagKeys"


@pytest.mark.parametrize(
    ("operator", "values", "given", "expected"),
    [
        ("ForAllValues:StringEquals", ["env", "team"], ["env"], True),
        ("ForAllValues:StringEquals", ["env", "team"], ["env", "team"], True),
        ("ForAllValues:StringEquals", ["env", "team"], ["env", "cost"], False),
        ("ForAllValues:StringEquals", ["env", "team"], [], True),
        ("ForAnyValue:StringEquals", ["env", "team"], ["env", "cost"], True),
        ("ForAnyValue:StringEquals", ["env", "team"], ["cost"], False),
        ("ForAnyValue:StringEquals", ["env", "team"], [], False),
        ("ForAllValues:StringNotEquals", ["env", "team"], ["cost", "owner"], True),
        ("ForAllValues:StringNotEquals", ["env", "team"], ["cost", "env"], False),
        ("ForAnyValue:StringNotEquals", ["env", "team"], ["cost", "env"], True),
        ("ForAnyValue:StringNotEquals", ["env", "team"], ["team", "env"], False),
        ("ForAllValues:StringLike", "e*", ["env", "edge"], True),
        ("ForAnyValue:StringLikeIfExists", "e*", ["cost"], False),
        ("Null", "true", [], True),
        ("Null", "true", ["env"], False),
        ("Null", "false", [], False),
        ("Null", False, ["env"], True),
    ],
)
def test_keys_with_many_values_are_compared_as_sets(operator, values, given, expected):
    assert holds(operator, TAGS, values, *given) is expected


@pytest.mark.parametrize("in_doubt", [True, False])
@pytest.mark.parametrize(
    ("operator", "key", "value", "given"),
    [
        ("IpAddress", IP, "10.0.0.0/8", ["not an address"]),
        ("NotIpAddress", IP, "10.0.0.0/8", [""]),
        ("DateLessThan", NOW, "2026-01-01", ["yesterday"]),
        ("NumericNotEquals", EPOCH, "1", ["NaN"]),
        ("Bool", TLS, "true", ["yes"]),
        ("StringEquals", NAME, "${aws:SourceAccount}", ["ada"]),
        ("StringNotEquals", NAME, "${aws:SourceAccount}", ["ada"]),
        ("StringEquals", "aws:RequestTag/team", "a", ["a", "b"]),
        ("ForAllValues:StringEquals", TAGS, "${aws:SourceAccount}", ["a"]),
    ],
)
def test_what_cannot_be_told_is_left_to_the_statement(operator, key, value, given, in_doubt):
    assert holds(operator, key, value, *given, in_doubt=in_doubt) is in_doubt


def test_a_value_that_matches_outweighs_one_that_cannot_be_told():
    assert holds("StringEquals", NAME, ["${aws:SourceAccount}", "ada"], "ada", in_doubt=False)
    assert not holds("StringNotEquals", NAME, ["${aws:SourceAccount}", "ada"], "ada", in_doubt=True)


def test_keys_and_operators_must_all_hold():
    conditions = parse_conditions(
        {"StringEquals": {NAME: "ada", TLS: "true"}, "IpAddress": {IP: "10.0.0.0/8"}}, "Condition"
    )
    for absent in (None, 0, 1, 2):
        context = {NAME: ("ada",), TLS.lower(): ("true",), IP.lower(): ("10.0.0.1",)}
        if absent is not None:
            context.pop([*context][absent])
        assert all(condition.holds(context, in_doubt=False) for condition in conditions) is (absent is None)


@pytest.mark.parametrize(
    ("condition", "where", "why"),
    [
        ({"StringEqual": {NAME: "a"}}, "StringEqual", "did you mean StringEquals"),
        ({"stringequals": {NAME: "a"}}, "stringequals", "did you mean StringEquals"),
        ({"BinaryEquals": {NAME: "YQ=="}}, "BinaryEquals", "not known here"),
        ({"NullIfExists": {NAME: "true"}}, "NullIfExists", "did you mean Null"),
        ({"ForAllValues:Null": {TAGS: "true"}}, "ForAllValues:Null", "not known here"),
        ({"ForSomeValues:StringEquals": {TAGS: "a"}}, "ForSomeValues", "not known here"),
        ({"StringEquals": {"aws:MultiFactorAuthPresent": "true"}}, "aws:MultiFactorAuthPresent", "open door"),
        ({"StringEquals": {"aws:TokenAge": "1"}}, "aws:TokenAge", "open door"),
        ({"StringEquals": {"sqs:Whatever": "1"}}, "sqs:Whatever", "open door"),
        ({"StringEquals": {"aws:RequestTag/": "1"}}, "aws:RequestTag/", "open door"),
        ({"StringEquals": {"aws:userName ": "1"}}, "aws:userName ", "did you mean aws:username"),
        ({"StringEquals": {TAGS: "a"}}, TAGS, "ForAllValues:StringEquals"),
        ({"IpAddress": {NAME: "10.0.0.0/8"}}, NAME, "could compare"),
        ({"NumericEquals": {IP: "10"}}, IP, "could compare"),
        ({"DateEquals": {TLS: "2026-01-01"}}, TLS, "could compare"),
        ({"Bool": {IP: "true"}}, IP, "could compare"),
        ({"ArnLike": {NAME: TOPIC}}, NAME, "could compare"),
        ({"ArnLike": {ARN: "*"}}, ARN, "six parts"),
        ({"IpAddress": {IP: "10.0.0.0/33"}}, IP, "an address is written"),
        ({"IpAddress": {IP: "10.0.0.*"}}, IP, "an address is written"),
        ({"IpAddress": {IP: "10.0.0.0/255.0.0.0"}}, IP, "an address is written"),
        ({"IpAddress": {IP: "::ffff:10.0.0.0/104"}}, IP, "IPv4"),
        ({"NumericLessThan": {EPOCH: "ten"}}, EPOCH, "a number is written"),
        ({"NumericLessThan": {EPOCH: "NaN"}}, EPOCH, "a number is written"),
        ({"NumericLessThan": {EPOCH: "${aws:EpochTime}"}}, EPOCH, "a number is written"),
        ({"DateLessThan": {NOW: "31.1.2026"}}, NOW, "a time is written"),
        ({"DateLessThan": {NOW: "2026-02-30T00:00:00Z"}}, NOW, "a time is written"),
        ({"Bool": {TLS: "yes"}}, TLS, "true or false"),
        ({"Null": {NAME: "maybe"}}, NAME, "absent"),
        ({"Null": {NAME: ["true", "false"]}}, NAME, "absent"),
        ({"StringEquals": {NAME: []}}, NAME, "never hold"),
        ({"StringEquals": {NAME: None}}, NAME, "a value is"),
        ({"StringEquals": {NAME: {"a": "b"}}}, NAME, "a value is"),
        ({"StringEquals": {NAME: [["a"]]}}, NAME, "a value is"),
        ({"StringEquals": {}}, "StringEquals", "not empty"),
        ({"StringEquals": "a"}, "StringEquals", "not empty"),
        ({}, "Condition", "not empty"),
        ([], "Condition", "not empty"),
        (None, "Condition", "not empty"),
    ],
)
def test_a_condition_that_could_not_be_checked_is_refused(condition, where, why):
    with pytest.raises(PolicyError, match=why) as told:
        parse_conditions(condition, "Statement[0].Condition")
    assert told.value.where.startswith("Statement[0].Condition")
    assert where in told.value.where
