"""The documentation as a thing to test."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# The test modules share what reads the pages; `bench` is beside the package and not in it.
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
