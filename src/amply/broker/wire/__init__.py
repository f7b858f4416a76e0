"""Bytes and words: HTTP requests into calls, results and faults into HTTP responses. Pure functions, no sockets."""
