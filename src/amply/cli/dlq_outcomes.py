"""What came of moving letters, for people and as JSON, and the exit code that it deserves.

Knows outcomes; must not know commands.
"""

from typing import Any

from amply.cli import output, times
from amply.cli.dlq_letters import JSON_VERSION, NAME_CHARS
from amply.cli.progress import EXIT_INTERRUPTED
from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.moving import Outcome

_DUPLICATES_SHOWN = 20
_REASON_CHARS = 500
_EXIT_STAYED = 1


def letters_text(count: int) -> str:
    """`1 letter`, `1 234 letters`."""
    return "1 letter" if count == 1 else f"{output.count(count)} letters"


def total(outcome: Outcome) -> int:
    """How many letters have a destination."""
    return sum(outcome.destinations.values())


def whereto(outcome: Outcome) -> str:
    """To which queues how many go, in one line."""
    if len(outcome.destinations) == 1:
        return f"{letters_text(total(outcome))} to {next(iter(outcome.destinations))}"
    parts = ", ".join(f"{output.count(count)} to {name}" for name, count in outcome.destinations.items())
    return f"{letters_text(total(outcome))}: {parts}"


def as_data(letters: DeadLetterQueue, outcome: Outcome, **more: Any) -> dict[str, Any]:
    """The outcome for programs."""
    settled = outcome.settled
    return {
        "version": JSON_VERSION,
        "queue": letters.name,
        "endpoint": letters.gateway.endpoint_url,
        **more,
        "moved": outcome.moved,
        "waiting": outcome.waiting,
        "skipped": outcome.skipped,
        "destinations": [{"queue": name, "letters": count} for name, count in outcome.destinations.items()],
        "stayed": [{"reason": reason, "letters": count} for reason, count in outcome.stayed.items()],
        "doubtful": outcome.doubtful,
        "possible_duplicates": [{"id": name, "job_id": job_id} for name, job_id in outcome.possible_duplicates],
        "settled": settled
        and {
            "verb": settled.asked.verb,
            "started_ms": settled.asked.started_ms,
            "deleted": settled.deleted,
            "unsure": settled.unsure,
        },
        "cancelled": outcome.is_cancelled,
    }


def write(letters: DeadLetterQueue, outcome: Outcome, title: str, *, as_json: bool, **more: Any) -> None:
    """Write what came of it."""
    if as_json:
        output.write_json(as_data(letters, outcome, **more))
    else:
        rows = [(name, output.count(count)) for name, count in outcome.destinations.items()]
        output.write_table(title, ("To", "Letters"), rows)
        tell(outcome)


def exit_code(outcome: Outcome) -> int:
    """What a command ends with that has moved letters."""
    if outcome.is_cancelled:
        return EXIT_INTERRUPTED
    return _EXIT_STAYED if outcome.stayed or outcome.waiting else 0


def tell(outcome: Outcome) -> None:
    """What a person should know beside the numbers."""
    settled = outcome.settled
    if settled is not None:
        output.say(
            f"The run of {times.utc(settled.asked.started_ms)} that was interrupted is put in order: "
            f"{letters_text(settled.deleted)} that had been sent were deleted; of {output.count(settled.unsure)} "
            "nobody knows whether they had been."
        )
    if outcome.is_cancelled:
        output.say(f"Stopped after {letters_text(outcome.moved)}; the others are where they were.")
    tell_stays(outcome)
    if outcome.skipped:
        output.say(f"{letters_text(outcome.skipped)} skipped: somebody else has received them.")
    if outcome.waiting:
        output.say(f"{letters_text(outcome.waiting)} sent, and not deleted yet: the next redrive does that.")
    if outcome.doubtful:
        output.say(f"{letters_text(outcome.doubtful)} may have been sent twice, as no answer came the first time:")
        for message_id, job_id in outcome.possible_duplicates[:_DUPLICATES_SHOWN]:
            output.say(f"  job {output.brief(job_id, NAME_CHARS)}" if job_id else f"  message {message_id}")
        if outcome.doubtful > _DUPLICATES_SHOWN:
            output.say(f"  and {output.count(outcome.doubtful - _DUPLICATES_SHOWN)} more")


def tell_stays(outcome: Outcome) -> None:
    """Which letters stay, and why."""
    for reason, count in outcome.stayed.items():
        why = output.brief(reason, _REASON_CHARS)
        output.say(f"{letters_text(count)} {'stays' if count == 1 else 'stay'}: {why}")
