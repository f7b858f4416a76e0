"""The door: one file a command family. Composition happens only here; commands import what they use when they run."""
