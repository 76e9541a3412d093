"""Guessing: slowed down, never locked out for good; what others wrote is read or refused."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from envtrail.config import load_config
from envtrail.errors import EnvtrailError
from envtrail.model.identity import Role
from envtrail.model.tries import Limit, Tries
from envtrail.web.accounts import Accounts
from envtrail.web.roles import role_of

NAME = [("name a", Limit(free=3, longest_s=60))]


@given(st.lists(st.floats(min_value=0, max_value=120), max_size=40))
def test_the_wait_grows_never_beyond_its_bound_and_always_ends(gaps: list[float]) -> None:
    now = [0.0]
    tries = Tries(lambda: now[0])
    wrong = 0
    for gap in gaps:
        now[0] += gap
        wait = tries.begin(NAME)
        assert 0 <= wait <= 60
        if wrong < 3:
            assert wait == 0
        wrong += wait == 0
    now[0] += 61
    assert tries.begin(NAME) == 0
    tries.note_right(NAME)
    assert [tries.begin(NAME) for _ in range(3)] == [0, 0, 0]
    assert tries.begin(NAME) > 0


def test_a_try_is_counted_before_it_is_checked() -> None:
    tries = Tries(lambda: 0.0)
    keys = [*NAME, ("all", Limit(free=100, longest_s=60))]
    assert [tries.begin(keys) == 0 for _ in range(50)].count(True) == 3
    tries.forgive(keys)
    tries.forgive(keys)
    assert tries.begin(keys) == 0, "what was not checked after all is not counted"
    assert tries._wrong["all"][0] == 2


def test_it_remembers_no_more_than_it_has_room_for() -> None:
    tries = Tries(lambda: 0.0)
    for at in range(20_000):
        tries.begin([(f"name {at}", NAME[0][1])])
    assert len(tries._wrong) == 10_000


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_file_of_accounts_or_refused(tmp_path_factory, text: bytes) -> None:  # type: ignore[no-untyped-def]
    path: Path = tmp_path_factory.getbasetemp() / "accounts.json"
    path.write_bytes(text)
    path.chmod(0o600)
    accounts = Accounts(path)
    try:
        found = accounts.read()
    except EnvtrailError:
        return
    assert isinstance(found, list)


@given(st.text(max_size=20), st.frozensets(st.text(max_size=8), max_size=4))
def test_a_role_is_given_by_name_or_group_and_by_nothing_else(name: str, groups: frozenset[str]) -> None:
    config = load_config(environ={}, flags={"web.admins": ["ada"], "web.auditors": ["@audit"], "web.members": ["*"]})
    expected = Role.ADMIN if name == "ada" else Role.AUDITOR if "audit" in groups else Role.MEMBER
    assert role_of(name, groups, config) is (None if name.startswith("@") or name == "*" else expected)


def test_nobody_is_a_group_or_everybody_by_their_name() -> None:
    config = load_config(environ={}, flags={"web.admins": ["@wheel"], "web.members": ["*"]})
    assert role_of("@wheel", frozenset(), config) is None
    assert role_of("*", frozenset(), config) is None
