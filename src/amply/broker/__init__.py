"""The embedded SQS: a durable, SQS-compatible broker. ARCHITECTURE.md shows the path of a message through it."""
