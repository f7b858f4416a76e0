"""The command `amply`, but that letters that it receives are hidden for another time than it says otherwise.

Its arguments are how many seconds, and those of the command. On an SQS that is not ours, what a killed run has received
comes back when that time is over, and nobody wants to wait for five minutes.
"""

import sys

from amply.deadletters import walks

if __name__ == "__main__":
    walks.LEASE_S = int(sys.argv[1])
    from amply.cli.main import main

    main(sys.argv[2:])
