"""Jobs that fail each time they run: not acknowledged, received as often as the redrive policy allows, then set aside.

The fixture has sent them and has killed the broker between two of their receives.
"""

import pytest
from system import DEAD_LETTERS


@pytest.mark.parametrize(("number", "queue", "receives_max"), [(1, "low", 3), (2, "high", 5)])
def test_a_task_that_raises_is_a_dead_letter_after_its_receives(impatient, dead_letters, number, queue, receives_max):
    letter = dead_letters("ledger.fail", number)
    runs = impatient.runs("ledger.fail")[number, queue]
    # Were the count lost with the broker's process, there would be more runs than receives allowed. A receive whose
    # answer the broker took to its grave is no run.
    assert receives_max - 1 <= runs <= receives_max
    assert letter["Attributes"]["DeadLetterQueueSourceArn"].endswith(f":amply-celery-{queue}")


def test_a_dead_letter_is_the_jobs_whole_envelope(impatient, dead_letters):
    envelope = dead_letters("ledger.fail", 1)["envelope"]
    assert envelope["headers"]["lang"] == "py"
    assert envelope["headers"]["retries"] == 0
    assert envelope["content-type"] == "application/json"
    assert envelope["properties"]["correlation_id"] == envelope["headers"]["id"]
    assert envelope["properties"]["delivery_info"]["routing_key"] == "low"
    assert impatient.app.AsyncResult(envelope["headers"]["id"]).state == "FAILURE"


def test_nobody_works_on_dead_letters(impatient, dead_letters):
    dead_letters("ledger.fail", 1)
    assert impatient.queue(DEAD_LETTERS)["parked_polls"] == 0
