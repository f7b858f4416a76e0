"""A peer that plays whatever part a test gives it: the other end of a connection, well behaved or not."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

PATIENCE_S = 10.0


class Peer:
    """Listens, and plays one part a connection, in their order; the last part is played for all further ones."""

    def __init__(self, parts: Sequence[Callable[["Peer", socket.socket], None]], tls: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = threading.Event()
        self.played = threading.Event()
        self.ended = threading.Event()
        self._parts = parts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def _listen(self) -> None:
        while True:
            accepted, _ = self._listener.accept()
            if self.ended.is_set():
                accepted.close()
                return
            part = self._parts[min(self.connections, len(self._parts) - 1)]
            self.connections += 1
            self._open.append(accepted)
            thread = threading.Thread(target=self._play, args=(part, accepted))
            self._threads.append(thread)
            thread.start()

    def _play(self, part: Callable[["Peer", socket.socket], None], accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls:
                accepted = self._tls.wrap_socket(accepted, server_side=True)
                self._open.append(accepted)
            part(self, accepted)
        accepted.close()
        self.played.set()

    def read(self, connection: socket.socket) -> bytes:
        """One whole request; nothing if the other end closed."""
        request = b""
        while b"\r\n\r\n" not in request:
            received = connection.recv(65536)
            if not received:
                return b""
            request += received
        head, _, body = request.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < size:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        self.asked.set()
        return self.requests[-1]

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self.ended.set()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        socket.create_connection(self._listener.getsockname()).close()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()


class Parts:
    """What a peer can do with a connection."""

    @staticmethod
    def answers(*answers: bytes) -> Callable[[Peer, socket.socket], None]:
        """Answer one request after the other, then close."""

        def play(peer: Peer, connection: socket.socket) -> None:
            for answer in answers:
                if not peer.read(connection):
                    return
                connection.sendall(answer)

        return play

    @staticmethod
    def always(answer: bytes) -> Callable[[Peer, socket.socket], None]:
        """Answer every request alike."""

        def play(peer: Peer, connection: socket.socket) -> None:
            while peer.read(connection):
                connection.sendall(answer)

        return play

    @staticmethod
    def hangs(start: bytes = b"") -> Callable[[Peer, socket.socket], None]:
        """Read a request, answer with a beginning at most, and say no more."""

        def play(peer: Peer, connection: socket.socket) -> None:
            peer.read(connection)
            connection.sendall(start)
            peer.ended.wait(PATIENCE_S)

        return play

    @staticmethod
    def drips(start: bytes) -> Callable[[Peer, socket.socket], None]:
        """Answer with a beginning, and then a byte at a time without an end."""

        def play(peer: Peer, connection: socket.socket) -> None:
            peer.read(connection)
            connection.sendall(start)
            while not peer.ended.wait(0.02):
                connection.sendall(b"x")

        return play

    @staticmethod
    def resets(peer: Peer, connection: socket.socket) -> None:
        """Read a request and reset the connection."""
        peer.read(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    @staticmethod
    def closes(peer: Peer, connection: socket.socket) -> None:
        """Close without reading."""


@pytest.fixture
def parts() -> type[Parts]:
    """What a peer can do with a connection."""
    return Parts


@pytest.fixture
def start_peer() -> Iterator[Callable[..., Peer]]:
    """Start a peer that plays the parts given."""
    started: list[Peer] = []

    def start(*played: Callable[[Peer, socket.socket], None], tls: ssl.SSLContext | None = None) -> Peer:
        started.append(Peer(played, tls))
        return started[-1]

    yield start
    for peer in started:
        peer.stop()
