"""One connection of the bus: its socket, what came of an unfinished frame, and what waits to be sent."""

from __future__ import annotations

import socket

from slotmesh.cluster.wire import FrameDecoder

READ_BYTES = 64 * 1024


class BusLink:
    """Non-blocking. A fault while sending is not told: reading finds the same one."""

    __slots__ = ("closed", "decoder", "number", "out", "sock")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.decoder = FrameDecoder()
        self.out = bytearray()
        self.closed = False

    def receive(self) -> bytes | None:
        """Some of what came; empty at the end, None when there is nothing yet. Raises OSError."""
        try:
            return self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return None

    def send(self, frame: bytes) -> bool:
        """Send a frame behind what waits; False when something of it has to wait."""
        if not self.out:
            try:
                sent = self.sock.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError:
                return True
            if sent == len(frame):
                return True
            frame = frame[sent:]
        self.out += frame
        return False

    def send_more(self) -> bool:
        """The socket takes some of what waits; whether nothing waits any more."""
        try:
            del self.out[: self.sock.send(self.out)]
        except BlockingIOError:
            return False
        except OSError:
            self.out.clear()
        return not self.out
