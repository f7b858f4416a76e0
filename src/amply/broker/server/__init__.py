"""Sockets: the HTTP/1.1 endpoint that SQS clients talk to.

Bytes become `Request`s here and `Response`s become bytes. What a request means is not known in this room: a `Handler`
is told of it, and may answer at once or much later.
"""
