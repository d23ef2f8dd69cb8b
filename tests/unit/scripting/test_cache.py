"""The cache of scripts: what stays and what goes, at both levels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.scripting.cache import KEPT_OF_EVAL, Script, ScriptCache


@pytest.fixture
def newer() -> Iterator[None]:
    COMPAT.choose("7.2")
    yield
    COMPAT.choose("7.0")


def script(number: int) -> Script:
    return Script(b"%040x" % number, b"return %d" % number, 0, None)


def filled(count: int) -> ScriptCache:
    cache = ScriptCache()
    for number in range(count):
        cache.add(script(number), passing=True)
    return cache


def test_script_is_found_by_text_and_by_sha_in_any_case() -> None:
    cache = filled(12)
    assert cache.with_sha(b"%040X" % 10) is cache.with_body(b"return 10")
    assert cache.with_sha(b"f" * 40) is None


def test_all_scripts_stay_at_level_7_0() -> None:
    assert len(filled(KEPT_OF_EVAL + 10)) == KEPT_OF_EVAL + 10


@pytest.mark.usefixtures("newer")
def test_script_used_longest_ago_goes_at_level_7_2() -> None:
    cache = filled(KEPT_OF_EVAL)
    first = cache.with_body(b"return 0")
    assert first is not None
    cache.used(first)
    size = cache.size_bytes
    cache.add(script(KEPT_OF_EVAL), passing=True)
    assert cache.with_body(b"return 0") is first
    assert cache.with_body(b"return 1") is None
    assert cache.with_sha(b"%040x" % 1) is None
    assert (len(cache), cache.evicted) == (KEPT_OF_EVAL, 1)
    assert cache.size_bytes == size + len(b"return 500") - len(b"return 1")


@pytest.mark.usefixtures("newer")
def test_loaded_script_stays_even_if_eval_brought_it() -> None:
    cache = filled(1)
    first = cache.with_body(b"return 0")
    assert first is not None
    cache.keep(first)
    cache.add(script(5000), passing=False)
    for number in range(1, KEPT_OF_EVAL + 50):
        cache.add(script(number), passing=True)
    assert cache.with_body(b"return 0") is first
    assert cache.with_body(b"return 5000") is not None
    assert len(cache) == KEPT_OF_EVAL + 2


def test_flushed_cache_is_empty() -> None:
    cache = filled(3)
    cache.clear()
    assert (len(cache), cache.size_bytes, cache.with_body(b"return 1")) == (0, 0, None)
