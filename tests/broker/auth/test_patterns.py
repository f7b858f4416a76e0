"""Wildcards and variables."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amply.broker.auth.patterns import Syntax, any_of, parse_pattern
from amply.broker.auth.policy_errors import PolicyError

ARN = Syntax(is_arn=True)
QUEUE = "arn:aws:sqs:eu-central-1:123456789012:amply-celery"


def matches(text: str, value: str, syntax: Syntax = Syntax(), **context: str) -> bool | None:  # noqa: B008
    keys = {f"aws:{name}": (one,) for name, one in context.items()}
    return parse_pattern(text, syntax, "here").matches(value, keys)


@pytest.mark.parametrize(
    ("text", "is_match"),
    [
        (QUEUE, True),
        ("arn:aws:sqs:eu-central-1:123456789012:amply-*", True),
        ("arn:aws:sqs:*:123456789012:amply-celery", True),
        ("arn:aws:sqs:*:*:*", True),
        ("arn:*:*:*:*:*", True),
        ("arn:aws:sqs:eu-central-1:123456789012:amply?celery", True),
        ("arn:aws:sqs:eu-central-?:12345678901?:*celery*", True),
        ("arn:aws:sqs:eu-central-1:123456789012:amply-celer", False),
        ("arn:aws:sqs:eu-central-1:123456789012:amply-celery-dlq", False),
        ("arn:aws:sqs:eu-central-1:123456789012:amply-celery?", False),
        ("arn:aws:sqs:eu-central-1:123456789012:Amply-celery", False),
        ("arn:aws:sqs:eu-*-1:123456789012:celery", False),
        ("arn:aws:sns:eu-central-1:123456789012:amply-celery", False),
        # Written so that the wildcard would have to reach beyond a colon.
        ("arn:aws:sqs:*:amply-celery::", False),
        ("arn:*:123456789012:amply-celery:::", False),
    ],
)
def test_an_arn_is_compared_segment_by_segment(text, is_match):
    assert matches(text, QUEUE, ARN) is is_match


def test_the_exact_arn_of_a_queue_is_not_its_dead_letter_queue_s():
    assert not matches(QUEUE, f"{QUEUE}-dlq", ARN)
    assert matches("arn:aws:sqs:eu-central-1:123456789012:amply-*", f"{QUEUE}-dlq", ARN)


def test_only_the_last_segment_of_an_arn_may_hold_colons():
    function = "arn:aws:lambda:eu-central-1:123456789012:function:reports"
    assert matches("arn:aws:lambda:*:*:function:*", function, ARN)
    assert matches("arn:aws:lambda:*:*:*", function, ARN)
    assert not matches("arn:aws:lambda:*:function:reports", function, ARN)


@pytest.mark.parametrize("text", ["amply-celery", "arn:aws:sqs:*", "arn:aws:sqs:eu-central-1:123456789012", "*"])
def test_an_arn_has_six_segments(text):
    with pytest.raises(PolicyError, match="six parts"):
        parse_pattern(text, ARN, "here")


LETTERS = "ab:-*?"


def naive(text: str, value: str) -> bool:
    """What a wildcard means, tried in every way there is."""
    if not text:
        return not value
    if text[0] == "*":
        return any(naive(text[1:], value[start:]) for start in range(len(value) + 1))
    return bool(value) and text[0] in {"?", value[0]} and naive(text[1:], value[1:])


def naive_arn(text: str, value: str) -> bool:
    texts, values = text.split(":", 5), value.split(":", 5)
    return len(values) == 6 and all(naive(one, other) for one, other in zip(texts, values, strict=True))


@settings(deadline=None)
@given(st.text(LETTERS, max_size=8), st.text("ab:-\n", max_size=10))
@example("*a*ab", "aab")
@example("a*?b*", "aab")
def test_wildcards_match_what_trying_everything_matches(text, value):
    assert matches(text, value) is naive(text, value)
    expression = "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in text)
    assert matches(text, value) is (re.fullmatch(expression, value, re.DOTALL) is not None)


@settings(deadline=None)
@given(
    st.lists(st.text("ab*?", max_size=4), min_size=6, max_size=6).map(":".join),
    st.lists(st.text("ab", max_size=4), min_size=5, max_size=7).map(":".join),
)
@example("*a:*:*b*:::b", "ba:a:abb:::b")
@example("*:::::b", "a:::::::b")
def test_arns_match_what_comparing_their_segments_matches(text, value):
    assert matches(text, value, ARN) is naive_arn(text, value)


def test_a_pattern_and_a_value_made_to_be_slow_are_not():
    # Where every way were tried, this would not end before the suite's timeout, nor before the sun's.
    assert not matches("*a*a*a*a*a*a*a*a*a*a*b", "a" * 16_000)


@pytest.mark.parametrize(
    ("text", "value", "is_match"),
    [
        ("queue-${aws:username}", "queue-ada", True),
        ("queue-${AWS:UserName}", "queue-ada", True),
        ("queue-${aws:username}-*", "queue-ada-1", True),
        ("queue-${aws:username}", "queue-bob", False),
        ("${aws:username, 'nobody'}", "ada", True),
        ("${aws:SourceAccount, 'nobody'}", "nobody", True),
        ("${aws:SourceAccount,''}", "", True),
        ("${aws:SourceAccount}", "anything", None),
        ("a${*}b", "a*b", True),
        ("a${*}b", "aXb", False),
        ("a${?}b", "aXb", False),
        ("a${$}b", "a$b", True),
        ("a$b", "a$b", True),
        ("${$}{aws:username}", "${aws:username}", True),
    ],
)
def test_variables_stand_for_what_is_known_of_the_request(text, value, is_match):
    assert matches(text, value, username="ada") is is_match


@pytest.mark.parametrize("name", ["*", "a?a", "ad.", "(", "[a-z]*", "ada:b"])
def test_a_variable_s_value_is_never_a_pattern(name):
    assert matches("q-${aws:username}", f"q-{name}", username=name)
    assert not matches("q-${aws:username}", "q-ada", username=name)


def test_a_variable_with_two_values_has_none():
    for text in ("${aws:RequestTag/team}", "${aws:RequestTag/team, 'a'}"):
        pattern = parse_pattern(text, Syntax(), "here")
        assert pattern.matches("a", {"aws:requesttag/team": ("a", "b")}) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${aws:usrname}", "did you mean aws:username"),
        ("${aws:TagKeys}", "many values"),
        ("${aws:username", "never ends"),
        ("${}", "is written"),
        ("${aws:username, nobody}", "is written"),
    ],
)
def test_a_variable_that_cannot_be_looked_up_is_refused(text, why):
    with pytest.raises(PolicyError, match=why) as told:
        parse_pattern(text, Syntax(), "Statement[3].Resource")
    assert told.value.where == "Statement[3].Resource"


def test_without_wildcards_stars_are_stars():
    syntax = Syntax(has_wildcards=False)
    assert matches("a*?", "a*?", syntax)
    assert not matches("a*?", "abc", syntax)


def test_capitals_can_be_ignored():
    assert matches("Ad*", "aDa", Syntax(ignores_case=True))
    assert matches("${aws:username}", "ADA", Syntax(ignores_case=True), username="ada")
    assert not matches("Ad*", "ada")


@pytest.mark.parametrize(
    ("results", "outcome"),
    [
        ([], False),
        ([False, False], False),
        ([False, True], True),
        ([None, False], None),
        ([None, True], True),
        ([True, None], True),
    ],
)
def test_one_that_is_true_outweighs_one_that_is_unknown(results, outcome):
    assert any_of(results) is outcome
