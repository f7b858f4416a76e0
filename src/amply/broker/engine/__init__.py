"""Law: what happens to messages. Deterministic functions of state, command and time; no IO, no clock, no ids."""
