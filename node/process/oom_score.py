"""`oom-score-adj`: how ready the kernel should be to end this process when memory runs out.

A primary, a replica and a child that saves have a value each: a child should go first. `yes` (or `relative`) adds it to
the score from before the first adjustment, which `no` gives back; an untouched score is left alone.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from slotmesh.node.config.kinds import ConfigError

if TYPE_CHECKING:
    from slotmesh.node.config.configuration import Config

log = logging.getLogger("node")

PRIMARY: Final = 0
REPLICA: Final = 1
CHILD: Final = 2

_PATH: Final = "/proc/self/oom_score_adj"
_LIMIT: Final = 1000


class OomScore:
    """The score of this process. Follows the configuration; who changes the role says so."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._role = PRIMARY
        self._adjusted = False
        self._base = 0
        self._apply_or_log()
        for name in ("oom-score-adj", "oom-score-adj-values"):
            config.on_change(name, lambda _: self.apply())

    def role_changed(self, *, is_replica: bool) -> None:
        """The node became a primary or a replica."""
        self._role = REPLICA if is_replica else PRIMARY
        self._apply_or_log()

    def apply_to_child(self) -> None:
        """To be called in a child after the fork. A child that may not be adjusted works all the same."""
        self._role = CHILD
        with contextlib.suppress(ConfigError):
            self.apply()

    def _apply_or_log(self) -> None:
        try:
            self.apply()
        except ConfigError as error:
            log.warning("%s", error)

    def apply(self) -> None:
        """Set the score that the configuration and the role ask for. Raises ConfigError."""
        mode = self._config.oom_score_adj
        if mode == "no" and not self._adjusted:
            return
        try:
            if not self._adjusted:
                with open(_PATH, encoding="ascii") as file:
                    self._base = int(file.read())
            wanted = self._base if mode == "no" else self._config.oom_score_adj_values[self._role]
            if mode == "yes":
                wanted += self._base
            with open(_PATH, "w", encoding="ascii") as file:
                file.write(str(max(-_LIMIT, min(wanted, _LIMIT))))
        except OSError as error:
            raise ConfigError("Failed to set current oom_score_adj. Check server logs.") from error
        self._adjusted = mode != "no"
