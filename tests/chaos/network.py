"""Where the processes of a sequence live, and how they are cut off from each other.

With the right to make network namespaces every process gets one, with an address of its own and a cable to a bridge. To
cut some of them off their cables move to a second bridge: they still reach each other, and nobody else. All of it is
inside a namespace of the tester's own, so nothing is left on the machine, and two testers never meet. Without that
right everybody is on the loopback interface, and there are no partitions.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from tests.support.processes import free_ports

PORT = 7000
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

Address = tuple[str, int]


@attrs.frozen
class Place:
    """Where one process is: its address and, in a namespace of its own, an open file of that."""

    number: int
    address: Address
    namespace: int | None = None

    def enter(self) -> None:
        """Go there with the calling thread, or with a child that was just forked."""
        if self.namespace is not None and _libc.setns(self.namespace, _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")

    def enter_as_child(self) -> None:
        """`enter`, and die when the tester dies."""
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        self.enter()


class Network(Protocol):
    """What a sequence needs of either network."""

    can_cut: bool

    def place(self) -> Place:
        """A new place."""
        ...

    def cut(self, places: Sequence[Place]) -> None:
        """Cut these off from all others."""
        ...

    def heal(self) -> None:
        """Reconnect everybody."""
        ...


class Loopback:
    """Everybody at 127.0.0.1, each on a port of its own."""

    can_cut = False

    def __init__(self) -> None:
        self._count = 0

    def place(self) -> Place:
        self._count += 1
        return Place(self._count, ("127.0.0.1", free_ports(1, cluster=True)[0]))

    def cut(self, places: Sequence[Place]) -> None:
        raise NotImplementedError("no partitions on the loopback interface")

    def heal(self) -> None:
        """Nothing is ever cut."""


class Namespaces:
    """A network namespace per place, joined by a bridge. Moves the calling process into a namespace of its own."""

    can_cut = True

    def __init__(self) -> None:
        if _libc.unshare(_NEW_NETWORK):
            raise PermissionError(ctypes.get_errno(), "no right to make network namespaces")
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._count = 0
        self._away: list[Place] = []
        _ip(None, "link set lo up")
        for bridge in ("joined", "apart"):
            _ip(None, f"link add {bridge} type bridge", f"link set {bridge} up")
        _ip(None, "addr add 10.77.0.254/24 dev joined")

    def place(self) -> Place:
        self._count += 1
        place = Place(self._count, (f"10.77.0.{self._count}", PORT), _in_thread(_new_namespace))
        number, inside = place.number, f"/proc/{os.getpid()}/fd/{place.namespace}"
        _ip(
            None,
            f"link add out{number} type veth peer name in{number}",
            f"link set in{number} netns {inside}",
            f"link set out{number} master joined up",
        )
        _ip(
            place.enter,
            "link set lo up",
            f"addr add {place.address[0]}/24 dev in{number}",
            f"link set in{number} up",
        )
        return place

    def cut(self, places: Sequence[Place]) -> None:
        self._away.extend(places)
        _ip(self._enter_home, *(f"link set out{place.number} master apart" for place in places))

    def heal(self) -> None:
        if self._away:
            _ip(self._enter_home, *(f"link set out{place.number} master joined" for place in self._away))
        self._away.clear()

    def _enter_home(self) -> None:
        _libc.setns(self._home, _NEW_NETWORK)


def make_network() -> Network:
    """Namespaces where they can be made, else the loopback interface. Before any thread is started."""
    try:
        return Namespaces()
    except (OSError, subprocess.CalledProcessError):
        return Loopback()


def _ip(enter: Callable[[], None] | None, *lines: str) -> None:
    """Run lines of `ip` in one process, in the network namespace that `enter` goes to."""
    subprocess.run(("ip", "-batch", "-"), input="\n".join(lines).encode(), check=True, preexec_fn=enter)


def _new_namespace() -> int:
    if _libc.unshare(_NEW_NETWORK):
        raise PermissionError(ctypes.get_errno(), "no right to make network namespaces")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _in_thread(make: Callable[[], int]) -> int:
    """What `make` returns in a thread of its own, which leaves the namespaces of this one alone."""
    made: list[int] = []
    thread = threading.Thread(target=lambda: made.append(make()))
    thread.start()
    thread.join()
    if not made:
        raise PermissionError("no namespace was made")
    return made[0]
