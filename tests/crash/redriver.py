"""Brings dead letters back with the library, or goes on with a run that did not end: a process to be killed.

Its argument is a JSON object: the queue's name and endpoint, the data folder, and how many seconds a letter
that is received is hidden from others. It says as JSON what came of it.
"""

import json
import sys
from pathlib import Path

import msgspec

from amply.deadletters import walks
from amply.deadletters.dead_letter_queue import DeadLetterQueue
from amply.errors import AmplyError
from amply.transport.endpoint import resolve


def main(queue: str, endpoint_url: str, data: str, lease_s: int) -> int:
    """Redrive everything; the exit code."""
    walks.LEASE_S = lease_s
    endpoint = resolve(endpoint_url=endpoint_url, region="eu-central-1", userid="any", password="any")
    with DeadLetterQueue(queue, endpoint=endpoint, data=Path(data)) as letters:
        try:
            outcome = letters.redrive() if letters.interrupted() is None else letters.resume()
        except AmplyError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
