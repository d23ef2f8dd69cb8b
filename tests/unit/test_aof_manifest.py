"""Manifests of multi-part append-only files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.persistence.aof_manifest import (
    BASE,
    HISTORY,
    INCREMENT,
    AofFile,
    Manifest,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from slotmesh.node.persistence.errors import LoadError

STOCK_EXAMPLE = """\
file appendonly.aof.2.base.rdb seq 2 type b
file appendonly.aof.1.incr.aof seq 1 type h
file appendonly.aof.2.incr.aof seq 2 type h
file appendonly.aof.4.incr.aof seq 4 type i
file appendonly.aof.5.incr.aof seq 5 type i
"""


def test_parse_the_form_that_stock_writes_round_trips() -> None:
    manifest = parse_manifest(STOCK_EXAMPLE)
    assert manifest.text() == STOCK_EXAMPLE
    assert [file.name for file in manifest.files] == [
        "appendonly.aof.2.base.rdb",
        "appendonly.aof.4.incr.aof",
        "appendonly.aof.5.incr.aof",
    ]
    assert (manifest.base_seq, manifest.increment_seq) == (2, 5)


def test_parse_comments_case_and_unknown_pairs_are_tolerated() -> None:
    manifest = parse_manifest("# a comment\nFILE a.incr.aof seq 7 TYPE i future yes\n")
    assert manifest.increments == (AofFile("a.incr.aof", 7, INCREMENT),)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty AOF manifest"),
        ("\n", "Invalid AOF manifest file format"),
        ("file a seq 1\n", "Invalid AOF manifest file format"),
        ("file a seq 1 type\n", "Invalid AOF manifest file format"),
        ("file a seq x type b\n", "Invalid AOF manifest file format"),
        ("file a seq 0 type b\n", "Invalid AOF manifest file format"),
        (f"file a seq {'9' * 5000} type b\n", "too long line"),
        (f"file a seq {2**64} type b\n", "Invalid AOF manifest file format"),
        ("file a seq \u0661 type b\n", "Invalid AOF manifest file format"),
        ("file a\0b seq 1 type b\n", "Invalid AOF manifest file format"),
        ('file "a\\x00b" seq 1 type b\n', "Invalid AOF manifest file format"),
        ("file a/b seq 1 type b\n", "just a filename"),
        ("file a seq 1 type z\n", "Unknown AOF file type"),
        ("file a seq 1 type b\nfile b seq 2 type b\n", "duplicate base"),
        ("file a seq 2 type i\nfile b seq 2 type i\n", "non-monotonic"),
        ("file a seq 1 type b", "too long line"),
        ("file " + "a" * 1100 + " seq 1 type b\n", "too long line"),
        ('file "a seq 1 type b\n', "Invalid AOF manifest file format"),
        ('file "a"b seq 1 type b\n', "Invalid AOF manifest file format"),
    ],
)
def test_parse_bad_manifests_raise_with_the_reason(text: str, what: str) -> None:
    with pytest.raises(LoadError, match=what):
        parse_manifest(text)


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).filter(lambda n: "/" not in n)
)
def test_any_printable_name_round_trips(name: str) -> None:
    manifest = Manifest(increments=(AofFile(name, 1, INCREMENT),), increment_seq=1)
    assert parse_manifest(manifest.text()) == manifest


@pytest.mark.parametrize("stem", ["appendonly.aof", "my log.aof", 'quo"te', "back\\slash", "ünïcode", "tab\there"])
def test_written_manifest_is_read_back(tmp_path: Path, stem: str) -> None:
    manifest = Manifest().with_base(stem, "rdb", 0).with_increment(stem)
    write_manifest(str(tmp_path), stem, manifest)
    assert read_manifest(str(tmp_path / f"{stem}.manifest")) == manifest
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.manifest"]


def test_life_of_a_log_numbers_its_files() -> None:
    start = Manifest().with_base("a", "rdb", 0).with_increment("a")
    assert [file.name for file in start.files] == ["a.1.base.rdb", "a.1.incr.aof"]
    rewriting = start.with_increment("a")
    assert [file.name for file in rewriting.files] == ["a.1.base.rdb", "a.1.incr.aof", "a.2.incr.aof"]
    done = rewriting.with_base("a", "aof", 1)
    assert [file.name for file in done.files] == ["a.2.base.aof", "a.2.incr.aof"]
    assert [(file.name, file.kind) for file in done.history] == [("a.1.incr.aof", HISTORY), ("a.1.base.rdb", HISTORY)]
    assert done.base is not None
    assert done.base.kind == BASE
    assert done.without_history().history == ()
    assert done.with_increment("a").increments[-1].name == "a.3.incr.aof"


def test_failed_rewrites_leave_their_increments_in_order() -> None:
    manifest = Manifest().with_base("a", "rdb", 0).with_increment("a").with_increment("a").with_increment("a")
    done = manifest.with_base("a", "rdb", 2)
    assert [file.seq for file in done.increments] == [3]
    assert [file.name for file in done.history] == ["a.2.incr.aof", "a.1.incr.aof", "a.1.base.rdb"]


def test_quoted_names_use_the_letters_of_stock() -> None:
    manifest = Manifest().with_base("a\n\t\x01b", "rdb", 0)
    assert manifest.text() == 'file "a\\n\\t\\x01b.1.base.rdb" seq 1 type b\n'
    assert parse_manifest(manifest.text()) == manifest
