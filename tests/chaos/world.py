"""One long-lived deployment under observation: what runs, what is due to start again, who writes, what is wrong."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from slotmesh.sentinel.selection import HEAD_START_MS
from tests.chaos.hosts import Host, sentinel
from tests.chaos.ledger import Ledger, Writer, in_turn
from tests.chaos.network import Address, Network
from tests.chaos.timeline import Gap, Timeline
from tests.chaos.wire import Refused, ask

MONITOR_PERIOD_S = 0.05
SETTLE_S = 90.0
TAGS = ("b", "c", "a", "e")
"""Hash tags in slots of three shards: 3300, 7365, 15495, 15363."""


class World(ABC):
    """Nodes, three sentinels, writers, and a thread that looks after them."""

    mode = ""

    def __init__(self, home: Path, network: Network) -> None:
        self.home, self.network = home, network
        self.timeline = Timeline()
        self.away: list[Host] = []
        self.shards: list[list[Host]] = []
        self.nodes = self._make_nodes()
        first = self.nodes[0].address
        self.sentinels = [sentinel(f"sentinel{n}", network.place(), home, first) for n in range(3)]
        writers = [Writer(tag, self._finder()) for tag in self.tags]
        if network.can_cut:
            far = network.place()
            self._far_place = far
            writers += [Writer(tag, self._find_away, far) for tag in self.tags[:3]]
        self.ledger = Ledger(writers)
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._monitor = threading.Thread(target=self._watch, name="monitor", daemon=True)
        self._starved: dict[int, float] = {}
        self._judged: dict[Writer, int] = {}

    # What differs

    tags: Sequence[str] = TAGS

    @abstractmethod
    def _make_nodes(self) -> list[Host]: ...

    @abstractmethod
    def _form(self) -> None:
        """Make one deployment of the nodes, which run; sets `shards`."""

    @abstractmethod
    def _finder(self) -> Callable[[int], Address]: ...

    @abstractmethod
    def trouble(self) -> str:
        """What is not as it should be when all is well; empty when it is."""

    @abstractmethod
    def read(self, key: str) -> set[bytes]:
        """The elements of a list, from its primary."""

    @abstractmethod
    def repair(self) -> None:
        """What an operator does before anybody waits for the deployment to be well."""

    # Life

    @property
    def hosts(self) -> list[Host]:
        return [*self.nodes, *self.sentinels]

    def begin(self) -> None:
        """Start everything, and wait until it is well."""
        for host in self.nodes:
            host.start()
        self._monitor.start()
        self._wait_serving(self.nodes)
        self._form()
        for host in self.sentinels:
            host.start()
        trouble = self.settle()
        if trouble:
            raise AssertionError(f"never became well: {trouble}")
        for writer in self.ledger.writers:
            writer.start()

    def close(self) -> None:
        for writer in self.ledger.writers:
            if writer.is_alive():
                writer.finish()
        self._end.set()
        self._monitor.join(10)
        for host in self.hosts:
            if host.running:
                host.kill()

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Have the monitor do something after a while."""
        with self._lock:
            self._due.append((time.monotonic() + delay_s, action))

    @property
    def pending(self) -> bool:
        """Whether something is still to be started, continued or reconnected."""
        return bool(self._due)

    def settle(self, limit_s: float = SETTLE_S) -> str:
        """Wait until all that is due has happened and all is well; what is wrong when that never comes."""
        end = time.monotonic() + limit_s
        while self.pending:
            time.sleep(MONITOR_PERIOD_S)
        self.repair()
        while True:
            try:
                trouble = self.trouble()
            except (OSError, Refused) as error:
                trouble = f"no answer: {error}"
            if not trouble:
                return ""
            if time.monotonic() > end:
                return trouble
            time.sleep(0.1)

    def primaries(self) -> list[Host]:
        """The serving primary of each shard, as far as the nodes say."""
        found = []
        for members in self.shards:
            leading = [host for host in members if host.serving and host.role == "master"]
            found.append(leading[0] if leading else members[0])
        return found

    # Faults that end by themselves

    def kill(self, host: Host, back_after_s: float, **how: object) -> None:
        """End a process; it starts again after a while."""
        host.kill(**how)  # type: ignore[arg-type]
        self.observe()
        self.later(back_after_s, host.start)

    def pause(self, host: Host, for_s: float) -> None:
        host.pause()
        self.observe()

        def resume() -> None:
            if host.paused:
                host.resume()

        self.later(for_s, resume)

    def cut(self, hosts: Sequence[Host], for_s: float) -> None:
        """Cut these off, and the far writers with them."""
        if self.away:
            return  # one partition at a time
        for host in hosts:
            host.cut = True
        self.observe()
        self.network.cut([*(host.place for host in hosts), self._far_place])
        self.away = list(hosts)

        def heal() -> None:
            self.network.heal()
            self.away = []
            for host in hosts:
                host.cut = False

        self.later(for_s, heal)

    def _find_away(self, failures: int) -> Address:
        nodes = [host.address for host in self.away if host in self.nodes]
        if not nodes:
            time.sleep(0.1)
            raise ConnectionError("nobody is cut off")
        return in_turn(nodes)(failures)

    # Observation

    def observe(self) -> None:
        """Note what can be served, and whether a process is silent."""
        now = time.monotonic()
        majority = sum(host.serving for host in self.sentinels) > len(self.sentinels) // 2
        served = all(any(self._may_lead(host, now) for host in members) for members in self.shards)
        self.timeline.unable.note(not (majority and served), now)
        self.timeline.silent.note(any(host.paused or host.cut for host in self.hosts), now)

    @staticmethod
    def _may_lead(host: Host, now_s: float) -> bool:
        """A replica that started without its primary leaves that a head start."""
        if not host.serving or host.ready_s is None:
            return False
        return host.fit or now_s - host.ready_s > HEAD_START_MS / 1000 + 0.5

    def _watch(self) -> None:
        turn = 0
        while not self._end.wait(MONITOR_PERIOD_S):
            now = time.monotonic()
            with self._lock:
                ripe = [action for at, action in self._due if at <= now]
            for action in ripe:
                action()
            with self._lock:
                self._due = [(at, action) for at, action in self._due if action not in ripe]
            turn += 1
            for number, host in enumerate(self.hosts):
                if host.ready_s is None or (host in self.nodes and (not host.fit or (number + turn) % 4 == 0)):
                    host.probe(host in self.sentinels)
            self._note_starved()
            if self.shards:
                self.observe()

    def _note_starved(self) -> None:
        longest = 0.0
        for host in self.hosts:
            if host.running and host.process is not None:
                waited = host.starved_s()
                longest = max(longest, waited - self._starved.get(host.process.pid, 0.0))
                self._starved[host.process.pid] = waited
        self.timeline.starved.append((time.monotonic(), longest))

    def _wait_serving(self, hosts: Sequence[Host], limit_s: float = 90.0) -> None:
        end = time.monotonic() + limit_s
        while not all(host.serving for host in hosts):
            if time.monotonic() > end:
                raise AssertionError(f"{[host.name for host in hosts if not host.serving]} did not start")
            time.sleep(MONITOR_PERIOD_S)

    def new_gaps(self) -> list[Gap]:
        """Gaps that ended since the last call."""
        now = time.monotonic()
        found: list[Gap] = []
        for writer in self.ledger.writers:
            ended = len(writer.gaps)
            fresh = writer.gaps[self._judged.get(writer, 0) : ended]
            self._judged[writer] = ended
            if not writer.far:
                found += [self.timeline.judge(writer.tag, span, now) for span in fresh]
        return found

    def silent_writers(self, limit_s: float) -> list[str]:
        """Writers that got nothing acknowledged for so long, up to now."""
        now = time.monotonic()
        return [
            f"writer {writer.tag} has been refused for {now - writer.last_s:.1f} s: {writer.why}"
            for writer in self.ledger.writers
            if not writer.far and now - writer.last_s > limit_s
        ]

    # Sentinels

    def sentinel_units(self, host: Host) -> list[dict[str, str]]:
        """What a sentinel says of the primaries it watches."""
        units = ask(host.address, "SENTINEL", "MASTERS")
        return [
            {key.decode(): value.decode() for key, value in zip(unit[::2], unit[1::2], strict=True)} for unit in units
        ]

    def unit_trouble(self, primaries: Sequence[Host], replicas: int) -> str:
        """What is wrong in the sentinels' view of these primaries with so many replicas each."""
        expected = sorted(host.address for host in primaries)
        for host in self.sentinels:
            if not host.serving:
                return f"{host.name} does not serve"
            units = self.sentinel_units(host)
            told = sorted((unit["ip"], int(unit["port"])) for unit in units)
            if told != expected:
                return f"{host.name} takes {told} for primaries, not {expected}"
            for unit in units:
                facts = (unit["flags"], unit["num-slaves"], unit["num-other-sentinels"])
                if facts != ("master", str(replicas), "2"):
                    return f"{host.name} says of {unit['name']}: {facts}"
        return ""
