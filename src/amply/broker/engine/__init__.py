"""Law: what happens to messages. Deterministic functions of (state, command, now); no IO, no clock, no ids of its own."""
