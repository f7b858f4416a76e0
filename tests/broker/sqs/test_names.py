"""Queue names, URLs and ARNs, good and bad."""

import pytest

from amply.broker.sqs.faults import INVALID_ADDRESS, INVALID_PARAMETER_VALUE, Fault
from amply.broker.sqs.names import check_queue_name, parse_queue_arn, parse_queue_url, queue_arn, queue_url

HOME = "000000000000"
OTHER = "123456789012"
NOT_NAMES = [
    "",
    "a/b",
    "../../etc/passwd",
    "a\0",
    "a\n",
    "a b",
    "%2e%2e",
    "q\u0430",  # a Cyrillic letter
    "\uff11",  # a full-width digit
    "a" * 81,
    "x.fifo.fifo",
    "a.b",
]


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 80, "CON"])
def test_a_queue_may_have_letters_digits_hyphens_and_underscores(name: str) -> None:
    check_queue_name(name, is_fifo=False)


@pytest.mark.parametrize("name", [*NOT_NAMES, "q.fifo"])
def test_no_other_name_is_taken_for_a_standard_queue(name: str) -> None:
    with pytest.raises(Fault, match="Can only include alphanumeric") as caught:
        check_queue_name(name, is_fifo=False)
    assert caught.value.row is INVALID_PARAMETER_VALUE


def test_a_fifo_name_ends_in_fifo_within_its_80_characters() -> None:
    check_queue_name("x" * 75 + ".fifo", is_fifo=True)
    for name in [*NOT_NAMES, "q", ".fifo", "x" * 76 + ".fifo", "q.FIFO", "q.fifo\n"]:
        with pytest.raises(Fault, match=r"must end with \.fifo suffix"):
            check_queue_name(name, is_fifo=True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"http://localhost:9324/{OTHER}/q", (OTHER, "q")),
        (f"https://sqs.us-east-1.amazonaws.com/{OTHER}/q.fifo", (OTHER, "q.fifo")),
        (f"http://[::1]:9324/{OTHER}/q/", (OTHER, "q")),
        (f"http://broker/queue/us-east-1/{OTHER}/q", (OTHER, "q")),
        (f"/{OTHER}/q", (OTHER, "q")),
        (f"{OTHER}/q", (OTHER, "q")),
        ("https://sqs.eu-central-1.amazonaws.com/xxxx/amply-celery", (HOME, "amply-celery")),
        ("http://broker/q", (HOME, "q")),
        ("/q", (HOME, "q")),
        ("q", (HOME, "q")),
    ],
)
def test_only_account_and_name_of_a_queue_url_matter(url: str, expected: tuple[str, str]) -> None:
    assert parse_queue_url(url, HOME) == expected


@pytest.mark.parametrize(
    "url",
    [
        *(name for name in NOT_NAMES if name != "a/b"),
        "http://h/a/b/c/q",
        f"http://user@h/{OTHER}/q",
        f"http://h/{OTHER}/q?x=1",
        f"http://h/{OTHER}/q#x",
        f"http://h//{OTHER}//q",
        f"http://h/{OTHER}%2Fq",
        "http://h",
        "http:///",
        f"http://h/{OTHER}/q\n",
        "x" * 100_000,
    ],
)
def test_what_cannot_be_a_queue_url_is_an_invalid_address(url: str) -> None:
    with pytest.raises(Fault) as caught:
        parse_queue_url(url, HOME)
    assert caught.value.row is INVALID_ADDRESS


def test_a_queue_url_that_was_made_is_read_back() -> None:
    assert parse_queue_url(queue_url("http://localhost:9324", OTHER, "q"), HOME) == (OTHER, "q")


def test_an_arn_that_was_made_is_read_back() -> None:
    assert parse_queue_arn(queue_arn("eu-central-1", OTHER, "q.fifo")) == ("eu-central-1", OTHER, "q.fifo")


@pytest.mark.parametrize(
    "arn", ["", "q", "arn:aws:sns:us-east-1:123456789012:q", "arn:aws:sqs:us-east-1:1:q", f"arn:aws:sqs:r:{OTHER}:q\n"]
)
def test_what_is_no_queue_arn_reads_as_none(arn: str) -> None:
    assert parse_queue_arn(arn) is None
