"""Building blocks for random commands: a command is a tuple of words, drawn word by word."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Words = st.SearchStrategy[tuple[str | bytes, ...]]


def command(*parts: Any) -> Words:
    """A strategy for one command: a word, a strategy for one, or one for several (a tuple or list) at each place."""
    drawn = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(*drawn).map(_flat)


def _flat(parts: tuple[Any, ...]) -> tuple[str | bytes, ...]:
    words: list[str | bytes] = []
    for part in parts:
        if isinstance(part, (tuple, list)):
            words += _flat(tuple(part))
        else:
            words.append(part)
    return tuple(words)


def one_of(*words: Any) -> st.SearchStrategy[Any]:
    """One of some words (or tuples of words)."""
    return st.sampled_from(words)


def some(item: st.SearchStrategy[Any], least: int = 1, most: int = 4) -> st.SearchStrategy[list[Any]]:
    """Several of a kind."""
    return st.lists(item, min_size=least, max_size=most)


def maybe(*choices: Any) -> st.SearchStrategy[Any]:
    """One of the options, often none."""
    return st.one_of(st.just(()), *(part if isinstance(part, st.SearchStrategy) else st.just(part) for part in choices))


KEYS = ("a", "b", "c", "text", "none")
keys = st.sampled_from(KEYS)
members = st.sampled_from(
    (b"a", b"b", b"c", b"1", b"2", b"-3", b"007", b"", b"x" * 64, b"x" * 65, b"9" * 20, b"\x00\r\n")
) | st.integers(0, 40).map(lambda number: b"%d" % number)
integers = st.sampled_from(
    ("0", "1", "-1", "2", "-2", "5", "100", "-100", "x", "", "1.5", "9223372036854775807", "-9223372036854775808",
     "9223372036854775808", " 1", "+1", "01")
)  # fmt: skip
small = st.integers(-4, 8).map(str)
floats = st.sampled_from(
    ("0", "1", "-1", "1.5", "-2.25", "inf", "-inf", "nan", "abc", "1e3", "0.1", "0.2", "3.0", "1e400", "1e-400",
     "0x10", "", "-0", "1e17", "123456789012345678", " 1", "+5", "1_0")
)  # fmt: skip
