"""The modules beside the tests: samples of messages, and a worker to hand them to."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
