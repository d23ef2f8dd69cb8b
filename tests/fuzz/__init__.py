"""Hostile input by the thousand: mutated frames, replies and files against the real classes, checked after each.

A target is a function of a seed that plays one history and returns how many inputs it tried. It raises, usually
AssertionError, when something is not as it must be; the seed replays the history. ``python -m tests.fuzz --seconds 60``
runs all targets on new seeds for a while, ``test_fuzz`` a few fixed seeds of each with the other tests.
"""

from __future__ import annotations
