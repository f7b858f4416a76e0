"""`amply dlq redrive`: dead letters back to the queues that they came from, or to another."""

import click

from amply.cli import dlq_outcomes, output
from amply.cli.dlq_confirming import check_can_answer, confirm, yes_option
from amply.cli.dlq_opening import collect, cost_told, opened, tell_interrupted
from amply.cli.dlq_options import Place, check_is_chosen, match_options, place_options
from amply.cli.progress import Progress
from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.deadletters.matching import Match
from amply.deadletters.moving import Outcome

_TITLES = {"redrive": "Redriven", "edit": "Sent", "rm": "Deleted"}
_AFTER = "Go on with: amply dlq redrive --resume"


@click.command()
@match_options
@click.option("--all", "everything", is_flag=True, help="All letters.")
@click.option("--to", metavar="QUEUE", help="To this queue (its name at SQS); by default where each came from.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most so many letters a second."
)
@click.option("--dry-run", is_flag=True, help="Only tell how many would go where.")
@yes_option
@click.option("--resume", is_flag=True, help="Go on with what was interrupted, be it an edit or an rm.")
@place_options
@output.json_option
def redrive(
    *,
    match: Match,
    everything: bool,
    to: str | None,
    rate: float | None,
    dry_run: bool,
    yes: bool,
    resume: bool,
    place: Place,
    as_json: bool,
) -> int:
    """Send letters back to work: stored at their queue first, and only then deleted here.

    A letter that nobody else has is taken, sent and deleted; the job keeps its id. Ctrl-C finishes what is in hand.

    Ends with 1 when letters stay that were meant, 130 when it was stopped.
    """
    if resume and (everything or dry_run or to or match != Match()):
        raise click.UsageError("--resume goes on with what was asked then; leave out what is meant and --to.")
    if not resume:
        check_is_chosen(match, everything=everything)
    if not (resume or dry_run):
        check_can_answer(yes=yes)
    with opened(place) as letters:
        collect(letters)
        if resume:
            return _resume(letters, rate, as_json=as_json)
        tell_interrupted(letters)
        if dry_run:
            with cost_told(letters):
                plan = letters.plan(match, to=to)
            dlq_outcomes.write(letters, plan, "Would be redriven", as_json=as_json, dry_run=True)
            return 0
        total = letters.queue.messages if match == Match() else None
        if not yes:
            plan = letters.plan(match, to=to)
            total = dlq_outcomes.total(plan)
            if total == 0:
                dlq_outcomes.write(letters, plan, "Redriven", as_json=as_json, dry_run=False)
                return dlq_outcomes.exit_code(plan)
            dlq_outcomes.tell_stays(plan)
            confirm(f"Redrive {dlq_outcomes.whereto(plan)}?", yes=yes)
        with Progress("Redriving", after=_AFTER) as progress:

            def told(outcome: Outcome) -> None:
                progress.end()
                dlq_outcomes.write(letters, outcome, "Redriven", as_json=as_json, dry_run=False)

            outcome = letters.redrive(
                match, to=to, rate=rate, total=total, progress=progress, cancel=progress.cancel, told=told
            )
        return dlq_outcomes.exit_code(outcome)


def _resume(letters: DeadLetterQueue, rate: float | None, *, as_json: bool) -> int:
    asked = letters.interrupted()
    title = _TITLES[asked.verb] if asked is not None else ""
    with Progress("Going on", after=_AFTER) as progress:

        def told(outcome: Outcome) -> None:
            progress.end()
            dlq_outcomes.write(letters, outcome, title, as_json=as_json, dry_run=False)

        outcome = letters.resume(rate=rate, progress=progress, cancel=progress.cancel, told=told)
    return dlq_outcomes.exit_code(outcome)
