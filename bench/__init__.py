"""Measurements of Amply on the machine at hand: `python -m bench --help`, from the root of the repository."""
