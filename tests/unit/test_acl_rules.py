"""ACL rules: what each does, what is refused, and that describing a user loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.acl import rules
from slotmesh.node.acl.describe import describe_commands, describe_selector, describe_user
from slotmesh.node.acl.rules import (
    READ,
    WRITE,
    Catalogue,
    RuleError,
    Selector,
    UnmatchedParenthesis,
    User,
    join_selectors,
)

CATALOGUE = Catalogue(
    [
        (b"get", ("read", "string", "fast")),
        (b"set", ("write", "string", "slow")),
        (b"del", ("keyspace", "write", "slow")),
        (b"select", ("fast", "connection")),
        (b"hget", ("read", "hash", "fast")),
        (b"client", ("slow",)),
        (b"client|id", ("slow", "connection")),
        (b"client|kill", ("admin", "slow", "dangerous", "connection")),
        (b"config", ("slow",)),
        (b"config|get", ("admin", "slow", "dangerous")),
        (b"config|set", ("admin", "slow", "dangerous")),
    ]
)


def selector(*words: bytes) -> Selector:
    """A selector made by rules."""
    made = Selector()
    for rule in words:
        made.apply(rule, CATALOGUE)
    return made


def user(*words: bytes) -> User:
    """A user made by rules."""
    made = User(b"u")
    for rule in words:
        made.apply(rule, CATALOGUE)
    return made


def refusal(*words: bytes) -> str:
    """Why the rules are refused."""
    with pytest.raises(RuleError) as caught:
        user(*words)
    return str(caught.value)


# -- databases -------------------------------------------------------------------------------------------------


def test_database_rules_replace_each_other() -> None:
    assert selector().databases is None
    assert selector(b"db=0,2").databases == frozenset({0, 2})
    assert selector(b"db=0,2", b"DB=15").databases == frozenset({15})
    assert selector(b"db=0", b"alldbs").databases is None
    assert selector(b"resetdbs").databases == frozenset()
    assert selector(b"resetdbs", b"db=1").databases == frozenset({1})
    assert user(b"db=1", b"reset").root.databases is None


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (b"db=", rules.SYNTAX),
        (b"db", rules.SYNTAX),
        (b"db+=1", rules.SYNTAX),
        (b"db=16", rules.BAD_DATABASE),
        (b"db=-1", rules.BAD_DATABASE),
        (b"db=x", rules.BAD_DATABASE),
        (b"db=1,,2", rules.BAD_DATABASE),
        (b"db=1,", rules.BAD_DATABASE),
    ],
)
def test_bad_database_rules_are_refused(rule: bytes, reason: str) -> None:
    assert refusal(rule) == reason


def test_database_rules_are_described_behind_the_channels() -> None:
    everything = (b"+@all", b"~*", b"&*")
    assert describe_selector(selector(*everything), CATALOGUE) == b"~* &* +@all"
    assert describe_selector(selector(*everything, b"db=3,1"), CATALOGUE) == b"~* &* db=1,3 +@all"
    assert describe_selector(selector(*everything, b"resetdbs"), CATALOGUE) == b"~* &* resetdbs +@all"
    assert describe_selector(selector(*everything, b"alldbs"), CATALOGUE) == b"~* &* +@all"


def test_user_of_some_databases_is_limited() -> None:
    everything = (b"+@all", b"~*", b"&*")
    assert user(*everything).unlimited
    assert not user(*everything, b"db=0").unlimited
    twin = User(b"twin")
    twin.become(user(*everything, b"db=4"))
    assert twin.root.databases == frozenset({4})


# -- commands --------------------------------------------------------------------------------------------------


def test_command_rules_apply_in_order() -> None:
    assert selector(b"+get", b"+set", b"-get").commands == {b"set"}
    assert selector(b"-get", b"+@all").commands == set(CATALOGUE.categories)


def test_command_rule_about_a_container_is_about_its_subcommands() -> None:
    assert selector(b"+client").commands == {b"client", b"client|id", b"client|kill"}
    assert selector(b"+client", b"-client|kill").commands == {b"client", b"client|id"}
    assert selector(b"+client|id").commands == {b"client|id"}


def test_command_names_are_taken_in_any_case() -> None:
    assert selector(b"+GET", b"+Client|ID").commands == {b"get", b"client|id"}


def test_category_rule_adds_and_takes_away() -> None:
    assert selector(b"+@string").commands == {b"get", b"set"}
    assert b"config|set" not in selector(b"+@all", b"-@admin").commands
    assert b"client|id" in selector(b"+@connection").commands


def test_all_commands_allow_unknown_ones_until_something_is_taken_away() -> None:
    assert selector(b"+@all").all_commands
    narrowed = selector(b"+@all", b"-get")
    assert (narrowed.all_commands, narrowed.future) == (False, True)
    assert not selector(b"+@all", b"-@all").future


def test_first_argument_rule_is_kept_apart_and_forgotten_with_the_command() -> None:
    assert selector(b"+select|0", b"+select|1", b"+select|0").first_args == {b"select": [b"0", b"1"]}
    assert selector(b"+select|0", b"-select").first_args == {}
    assert selector(b"+select|0", b"+@all").first_args == {}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (b"+nosuch", rules.UNKNOWN_NAME),
        (b"-nosuch", rules.UNKNOWN_NAME),
        (b"+@nosuch", rules.UNKNOWN_NAME),
        (b"+client|nosuch", rules.UNKNOWN_NAME),
        (b"-select|0", rules.UNKNOWN_NAME),
        (b"+nosuch|x", rules.UNKNOWN_NAME),
        (b"+client|kill|x", rules.ARGUMENT_OF_SUBCOMMAND),
        (b"+select|", rules.SYNTAX),
        (b"nosuch", rules.SYNTAX),
        (b"~a b", rules.SYNTAX),
        (b"&a\tb", rules.SYNTAX),
        (b"%R", rules.SYNTAX),
        (b"%~a", rules.SYNTAX),
        (b"%RR~a", rules.SYNTAX),
        (b"%X~a", rules.SYNTAX),
        (b"#xyz", rules.BAD_HASH),
        (b"!" + b"A" * 64, rules.BAD_HASH),
        (b"<nosuch", rules.NO_SUCH_PASSWORD),
        (b"(+nosuch)", rules.UNKNOWN_NAME),
    ],
)
def test_rule_that_makes_no_sense_is_refused(rule: bytes, reason: str) -> None:
    assert refusal(rule) == reason


# -- keys, channels, passwords ---------------------------------------------------------------------------------


def test_key_rules_add_up_per_pattern() -> None:
    assert selector(b"%R~a", b"%W~a", b"~b", b"%wr~c").keys == {
        b"a": READ | WRITE,
        b"b": READ | WRITE,
        b"c": READ | WRITE,
    }


def test_key_pattern_after_all_keys_is_refused() -> None:
    assert refusal(b"~*", b"~a") == rules.KEYS_AFTER_ALL
    assert selector(b"~*", b"resetkeys", b"~a").keys == {b"a": READ | WRITE}


def test_channel_pattern_after_all_channels_is_refused() -> None:
    assert refusal(b"&*", b"&a") == rules.CHANNELS_AFTER_ALL
    assert selector(b"&a", b"&b", b"&a").channels == [b"a", b"b"]


def test_passwords_are_kept_as_hashes_and_end_nopass() -> None:
    made = user(b"nopass", b">secret", b">secret", b"#" + b"0" * 64)
    assert not made.no_password
    assert made.passwords == [rules.password_hash(b"secret"), b"0" * 64]
    made.apply(b"<secret", CATALOGUE)
    assert made.passwords == [b"0" * 64]
    made.apply(b"resetpass", CATALOGUE)
    assert made.passwords == []


def test_reset_leaves_a_user_that_may_nothing() -> None:
    made = user(b"on", b"nopass", b"+@all", b"~*", b"&*", b"(+get ~x)", b"reset")
    assert describe_user(made, CATALOGUE) == b"off sanitize-payload resetchannels -@all"


def test_reset_respects_the_default_for_channels() -> None:
    made = User(b"u", all_channels=True)
    made.apply(b"resetchannels", CATALOGUE)
    made.apply(b"reset", CATALOGUE, all_channels=True)
    assert made.root.all_channels


def test_selectors_are_added_and_cleared() -> None:
    made = user(b"+get", b"(+set ~a &b)", b"(%R~c)")
    assert [len(part.commands) for part in made.selectors] == [1, 1, 0]
    made.apply(b"clearselectors", CATALOGUE)
    assert len(made.selectors) == 1


def test_user_is_unlimited_when_one_selector_is() -> None:
    assert user(b"(+@all ~* &*)").unlimited
    assert not user(b"+@all", b"~*", b"(&*)").unlimited


def test_copies_are_independent() -> None:
    made = user(b"+get", b"~a", b"&c", b">p")
    twin = User(b"t")
    twin.become(made)
    twin.apply(b"reset", CATALOGUE)
    assert made.root.commands == {b"get"}
    assert made.passwords


# -- joining and describing ------------------------------------------------------------------------------------


def test_selectors_that_were_split_are_joined() -> None:
    assert join_selectors([b"on", b"(+get", b"~a)", b"(+set)", b"off"]) == [b"on", b"(+get ~a)", b"(+set)", b"off"]


def test_open_parenthesis_is_told_by_its_place() -> None:
    with pytest.raises(UnmatchedParenthesis) as caught:
        join_selectors([b"on", b"(+get", b"~a"])
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((b"+@all",), b"+@all"),
        ((b"+@all", b"-get"), b"+@all -get"),
        ((b"+@string",), b"-@all +@string"),
        ((b"+@string", b"+client|id"), b"-@all +@string +client|id"),
        ((b"+select|0", b"+select|1"), b"-@all +select|0 +select|1"),
        ((), b"-@all"),
    ],
)
def test_commands_are_described_by_few_rules(words: tuple[bytes, ...], text: bytes) -> None:
    assert set(describe_commands(selector(*words), CATALOGUE).split()) == set(text.split())


def test_user_is_described_in_the_stock_form() -> None:
    made = user(b"on", b"#" + b"0" * 64, b"~a", b"%R~b", b"&c", b"+get", b"(+set ~x)")
    assert describe_user(made, CATALOGUE) == (
        b"on #" + b"0" * 64 + b" ~a %R~b resetchannels &c -@all +get (~x resetchannels -@all +set)"
    )


_RULE = st.one_of(
    st.builds(
        lambda sign, name: sign + name, st.sampled_from([b"+", b"-"]), st.sampled_from(list(CATALOGUE.categories))
    ),
    st.builds(
        lambda sign, category: sign + b"@" + category.encode(),
        st.sampled_from([b"+", b"-"]),
        st.sampled_from(["read", "write", "string", "slow", "fast", "admin", "connection", "hash"]),
    ),
    st.sampled_from([b"+@all", b"-@all", b"+select|0", b"allkeys", b"resetkeys", b"allchannels", b"resetchannels"]),
)


@given(st.lists(_RULE, max_size=12))
def test_description_read_back_gives_the_same_rights(words: list[bytes]) -> None:
    made = selector(*words)
    again = selector(*describe_selector(made, CATALOGUE).split())
    assert (again.commands, again.future, again.keys, again.channels) == (
        made.commands,
        made.future,
        made.keys,
        made.channels,
    )
    # a first argument matters only where the command itself is forbidden
    assert again.first_args == {name: args for name, args in made.first_args.items() if name not in made.commands}
