"""`python -m tests.soak.refusals --count 1000000`: do refused commands leave memory where it was?

For each kind of refusal a node of its own is refused as many commands as its share, pipelined, and read. After a fifth
of them its resident set must not grow any more than noise explains. Prints one line a kind.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import time
from pathlib import Path

import hiredis

from slotmesh.node.resp.encoder import encode_command
from tests.soak.__main__ import MOST_GROWTH_KB, settle
from tests.support.inprocess import to_bytes
from tests.support.processes import start_node
from tests.support.refusals import KINDS, Kind

AT_ONCE = 100
WARM_UP_SHARE = 0.2


class Refused:
    """A connection whose commands are refused."""

    def __init__(self, port: int, kind: Kind) -> None:
        self._kind = kind
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        for request in kind.enter:
            self._ask(encode_command([to_bytes(word) for word in request]), 1)

    def round(self) -> int:
        """Have a batch of commands refused; how many."""
        count = AT_ONCE * len(self._kind.requests)
        self._ask(self._kind.wire * AT_ONCE, count)
        return count

    def close(self) -> None:
        self._sock.close()

    def _ask(self, data: bytes, replies: int) -> None:
        self._sock.sendall(data)
        reader = hiredis.Reader(notEnoughData=Ellipsis)
        while replies:
            chunk = self._sock.recv(1 << 18)
            assert chunk, f"{self._kind.name}: the node hung up"
            reader.feed(chunk)
            while reader.gets() is not Ellipsis:
                replies -= 1


def soak(kind: Kind, count: int, folder: Path) -> tuple[int, int]:
    """How many commands of a kind were refused after the warm-up, and by how many kB the node grew."""
    with start_node(folder, *kind.options) as server:
        kind.prepare(server.call)
        client = Refused(server.port, kind)
        done = 0
        while done < count * WARM_UP_SHARE:
            done += client.round()
        before, warmed = settle(server), done
        while done < count:
            done += client.round()
        growth = settle(server) - before
        client.close()
    return done - warmed, growth


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.refusals", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if options.only in kind.name]
    grew = []
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        for number, kind in enumerate(kinds):
            began = time.monotonic()
            count, growth = soak(kind, options.count // len(kinds), Path(home) / str(number))
            spent = time.monotonic() - began
            print(f"{kind.name:30} {count:8} refused in {spent:5.1f} s, grown by {growth} kB", flush=True)
            if growth > MOST_GROWTH_KB:
                grew.append(kind.name)
    print(f"GROWS: {', '.join(grew)}" if grew else "flat")
    return 1 if grew else 0


if __name__ == "__main__":
    sys.exit(main())
