"""Measurements of Amply on the machine at hand: `python -m bench --help`, from the root of the repository."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
