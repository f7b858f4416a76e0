"""`amply checkpoint`: check the hash chain over the donations, or prove that a donation is in it."""

import click
import msgspec

from amply import settings
from amply.cli import output
from amply.jobs import chain, checkpoints
from amply.jobs.records import find_store


@click.group()
def checkpoint() -> None:
    """Check the hash chain that seals the donations."""


@checkpoint.command()
@click.option("--expect", metavar="HASH", help="A checkpoint's hash that was kept elsewhere; the chain must hold it.")
@output.json_option
@click.pass_context
def verify(context: click.Context, expect: str | None, *, as_json: bool) -> None:
    """Check every checkpoint and every sealed donation. Exit 0 if the chain is whole, 1 if not.

    Keep the newest hash somewhere else and give it to --expect later: it also uncovers a chain rewritten as a whole.
    """
    found = checkpoints.verify_chain(find_store(settings.read().database_url), expected_hash=expect)
    if as_json:
        output.write_json({"whole": not found.problems, **found._asdict()})
    else:
        output.say(
            f"{found.checkpoint_count} checkpoints over {found.sealed_count} donations; "
            f"{found.unsealed_count} donations wait for the next one."
        )
        for problem in found.problems:
            output.say(f"Problem: {problem}")
        output.say(
            "The chain is broken." if found.problems else f"The chain is whole. Newest hash: {found.newest_hash}"
        )
    if found.problems:
        context.exit(1)


@checkpoint.command()
@click.argument("donation_id")
def prove(donation_id: str) -> None:
    """Write as JSON the proof that a checkpoint seals DONATION_ID: its facts, the checkpoint, the hashes between."""
    sealing, donation, proof = checkpoints.prove_sealed(find_store(settings.read().database_url), donation_id)
    output.write_json(
        {
            "donation": msgspec.structs.asdict(donation),
            "checkpoint": msgspec.structs.asdict(sealing),
            "proof": msgspec.structs.asdict(proof),
            "holds": chain.proves(proof, donation, sealing.merkle_root),
        }
    )
