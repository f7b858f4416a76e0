"""Receipt handles read back, and cannot be forged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amply.broker.sqs.faults import RECEIPT_HANDLE_IS_INVALID, Fault
from amply.broker.sqs.receipts import Receipt, Receipts

SECRET = bytes(range(32))
RECEIPTS = Receipts(SECRET)


@given(
    st.builds(
        Receipt,
        queue_id=st.integers(0, 2**32 - 1),
        seq=st.integers(0, 2**64 - 1),
        receive_count=st.integers(0, 2**31 - 1),
        received_ms=st.integers(0, 2**64 - 1),
        is_peeked=st.booleans(),
    )
)
def test_a_handle_reads_back_as_what_was_issued(receipt: Receipt) -> None:
    assert Receipts(SECRET).read(RECEIPTS.issue(receipt)) == receipt


def test_handles_of_receives_are_what_they_were_before_looks_gave_any() -> None:
    receipt = Receipt(1, 2, 3, 1_700_000_000_000)
    assert RECEIPTS.issue(receipt) == "AAAAAQAAAAAAAAACAAAAAwAAAYvP5WgAkuXAa6jJeoRiVXjBWdRovQ"


def test_the_handle_of_a_look_is_not_that_of_the_receive() -> None:
    looked = RECEIPTS.issue(Receipt(1, 2, 3, 1_700_000_000_000, is_peeked=True))
    assert looked != RECEIPTS.issue(Receipt(1, 2, 3, 1_700_000_000_000))
    assert RECEIPTS.read(looked).is_peeked


def test_changing_any_character_makes_a_handle_invalid() -> None:
    handle = RECEIPTS.issue(Receipt(1, 2, 3, 1_700_000_000_000))
    for position, old in enumerate(handle):
        for new in "AQ_-9z=\n":
            if new != old:
                with pytest.raises(Fault):
                    RECEIPTS.read(handle[:position] + new + handle[position + 1 :])


def test_a_handle_of_another_broker_is_invalid() -> None:
    handle = Receipts(b"another secret").issue(Receipt(1, 2, 3, 4))
    with pytest.raises(Fault):
        RECEIPTS.read(handle)


@given(st.one_of(st.text(max_size=60), st.text(alphabet="AZaz09-_+/=\u00e9", min_size=54, max_size=54)))
def test_garbage_is_never_a_handle(text: str) -> None:
    with pytest.raises(Fault) as caught:
        RECEIPTS.read(text)
    assert caught.value.row is RECEIPT_HANDLE_IS_INVALID
    assert caught.value.message == f'The input receipt handle "{text}" is not a valid receipt handle.'
