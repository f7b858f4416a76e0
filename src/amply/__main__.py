"""`python -m amply` is the command `amply`."""

from amply.cli.main import main

main()
