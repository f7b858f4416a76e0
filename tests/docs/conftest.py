"""The documentation as a thing to test."""

import sys
from pathlib import Path

# The test modules share what reads the pages.
sys.path.insert(0, str(Path(__file__).parent))
