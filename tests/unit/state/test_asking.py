"""The same question under every name gets the same answer, and what cannot be answered is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtrail.errors import InputError, UnknownNameError, UsageError
from envtrail.model.approval import Request, Terms, make_request_id
from envtrail.model.decided import RequestMade
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Operation
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.service.authorization import ViewedStore
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.lookup import find_incomplete, marked, need_known, resolve_environment, resolve_names
from envtrail.state.state import State
from envtrail.state.store import Query, Viewer
from envtrail.trail.layout import Layout


def operation(at: int, *packages: str, prefix: str = "/srv/envs/prod", user: str | None = "alice", **more: Any) -> Operation:
    made = operation_of(Case(packages=[f"{name}==1.0" for name in packages], environment=prefix))
    id_ = make_operation_id(EventId(node="h", time_ms=1_800_000_000_000 + at, serial=at), prefix)
    actor = msgspec.structs.replace(made.actor, name=user, uid=1001, auid=1001, method="auid")
    return msgspec.structs.replace(made, id=id_, actor=actor, host="h", **more)


def unrecorded(at: int, *requested: str, **more: Any) -> Operation:
    return operation(at, changes=None, requested=list(requested), absent={"changes": "not recorded"}, **more)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    Layout(tmp_path).create()
    with closing(State(Layout(tmp_path).state)) as made:
        yield made


def opened(state: State) -> EmbeddedStore:
    return EmbeddedStore(state.path.parents[1])


def put(state: State, *operations: Operation) -> None:
    with state.transaction():
        for item in operations:
            state.put_operation(item)


def found(state: State, **words: Any) -> list[str]:
    with closing(opened(state)) as store:
        return [item.id for item in store.operations(Query(**words))]


def test_every_spelling_of_a_package_finds_it(state: State) -> None:
    one = operation(1, "charset-normalizer")
    conda = operation(2)
    change = msgspec.structs.replace((one.changes or [])[0], ecosystem="conda", name="ruamel.yaml")
    conda = msgspec.structs.replace(conda, changes=[change])
    put(state, one, conda)
    for name in ("charset_normalizer", "charset-normalizer", "Charset.Normalizer"):
        assert found(state, package=name) == [one.id]
        assert found(state, package=name, environment="prod") == [one.id]
    for name in ("ruamel.yaml", "ruamel-yaml", "Ruamel_Yaml"):
        assert found(state, package=name) == [conda.id]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b1", "C"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["-", "_", ".", "--", "._"]), min_size=4, max_size=4),
    st.lists(st.sampled_from(["-", "_", ".", "-.", "__"]), min_size=4, max_size=4),
)
def test_names_that_are_equal_have_equal_answers(state: State, parts: list[str], these: list[str], those: list[str]) -> None:
    def spelt(separators: list[str]) -> str:
        return "".join(part + separator for part, separator in zip(parts, separators, strict=False)).rstrip("-_.")

    put(state, operation(1, spelt(these)))
    assert found(state, package=spelt(those)) == found(state, package=spelt(these).upper()) != []


def test_an_amended_operation_is_found_under_what_it_has_now_alone(state: State) -> None:
    first = operation(1, "six", "numpy")
    put(state, first)
    put(state, msgspec.structs.replace(first, changes=operation(1, "numpy").changes))
    assert found(state, package="six") == []
    assert found(state, package="numpy") == [first.id]


def test_what_was_requested_is_found_where_what_changed_is_not_recorded(state: State) -> None:
    asked, other = unrecorded(1, "Six==1.16.0"), unrecorded(2, "numpy")
    changed = operation(3, "six")
    put(state, asked, other, changed, operation(4, "numpy", requested=["six"]))
    query = Query(package="six")
    with closing(opened(state)) as store:
        documents = [(item["id"], item["matched"]) for item in marked(store.operations(query), query)]
        missing = find_incomplete(store, query)
    assert documents == [(changed.id, "changed"), (asked.id, "requested")]
    assert missing is not None
    assert (missing.operations, missing.examples, missing.at_least) == (1, [other.id], False)
    assert "1 operation whose changes are not recorded" in str(missing)


def test_an_answer_that_lacks_nothing_says_nothing(state: State) -> None:
    put(state, operation(1, "six"))
    with closing(opened(state)) as store:
        assert find_incomplete(store, Query(package="six")) is None
        assert find_incomplete(store, Query()) is None


def test_who_has_no_name_is_found_by_the_name_that_their_number_has_elsewhere(state: State) -> None:
    named, nameless = operation(1, "six"), operation(2, "six", user=None)
    put(state, named, nameless)
    for user in ("alice", "1001"):
        assert found(state, user=user) == [nameless.id, named.id]
        with closing(opened(state)) as store:
            assert sum(item.operations for item in store.activity(Query(user=user))) == 2
    put(state, operation(3, "six", user="bob"))
    # The number has been of two people: it identifies nobody.
    assert found(state, user="alice") == [named.id]


def test_events_of_a_name_whose_number_was_another_persons_are_not_guessed(state: State) -> None:
    put(state, operation(1, "six"), operation(2, "six", user="bob"))
    with closing(opened(state)) as store, pytest.raises(InputError, match="has also been that of `bob`"):
        list(store.events(Query(user="alice")))


def test_a_hubs_person_does_not_give_their_name_to_the_account_they_work_as(state: State) -> None:
    one = operation(1, "six")
    put(
        state,
        msgspec.structs.replace(one, actor=msgspec.structs.replace(one.actor, method="jupyterhub")),
        operation(2, "six", user=None),
    )
    assert found(state, user="alice") == [one.id]


def test_requests_are_found_by_every_name_of_their_person_and_environment(state: State) -> None:
    terms = Terms(
        prefix="/srv/prod",
        user="alice",
        uid=1001,
        action="install",
        packages=[],
        dependencies=True,
        until_ms=9,
        uses=None,
        why="x",
    )
    request = Request(id=make_request_id(terms, 1), time_ms=1, host="h", terms=terms)
    with state.transaction():
        state.decisions.put(RequestMade(time_ms=1, request=request))
    with closing(opened(state)) as store:
        for words in ({"user": "alice"}, {"user": "1001"}, {"environment": "prod"}, {"environment": "/srv/prod/"}):
            assert [item.id for item in store.requests(Query(**words))] == [request.id]
        for words in ({"user": "1"}, {"user": "al"}, {"environment": "/prod"}, {"environment": "rod"}, {"environment": "PROD"}):
            assert list(store.requests(Query(**words))) == []


def test_a_name_becomes_the_prefix_that_it_means(state: State) -> None:
    put(state, operation(1, "six"), operation(2, "six", prefix="/opt/a/ml"), operation(3, "six", prefix="/opt/b/ml"))
    with closing(opened(state)) as store:
        assert resolve_environment(store, "prod/") == "/srv/envs/prod"
        assert resolve_names(store, Query(environment="a/ml")).environment == "/opt/a/ml"
        assert resolve_environment(store, "/nowhere") == "/nowhere"
        with pytest.raises(InputError, match="more than one environment is named `ml`: /opt/a/ml, /opt/b/ml"):
            resolve_environment(store, "ml")


def test_names_of_nothing_are_named(state: State) -> None:
    put(state, operation(1, "six"))
    with closing(opened(state)) as store:
        for words, reported in (
            ({"environment": "prodd"}, "no environment named `prodd` is in the trail; known: /srv/envs/prod"),
            ({"user": "alicia"}, "no person named `alicia` is in the trail; nearest: alice"),
            ({"package": "sixx"}, "no package named `sixx` is in the trail; known: six"),
        ):
            with pytest.raises(UnknownNameError) as caught:
                need_known(store, Query(**words))  # type: ignore[arg-type]
            assert caught.value.message == reported
            assert caught.value.exit_code == 1
        need_known(store, Query(environment="prod", user="1001", package="SIX"))
        with pytest.raises(UsageError, match="no names of `secrets`"):
            list(store.known("secrets"))


def test_a_member_is_not_told_the_names_of_what_they_may_not_see(state: State) -> None:
    put(state, operation(1, "six"), operation(2, "numpy", prefix="/root/secret-env", user="bob"))
    store = ViewedStore(opened(state), Viewer(uid=4242, sees_everything=False))
    with closing(store):
        assert list(store.known("environments")) == []
        assert list(store.known("packages")) == []
        need_known(store, Query(environment="secret-enw", package="numpi"))
        assert resolve_environment(store, "secret-env") == "secret-env"
    own = ViewedStore(opened(state), Viewer(uid=1001, sees_everything=False))
    with closing(own):
        assert "/srv/envs/prod" in set(own.known("environments"))


def test_names_with_marks_of_sql_and_lucene_mean_themselves(state: State) -> None:
    odd = operation(1, "six", prefix="/srv/e_%*?\\x")
    put(state, odd, operation(2, "six", prefix="/srv/eabcx"))
    assert found(state, environment="e_%*?\\x") == [odd.id]
    assert found(state, environment="e%") == found(state, environment="*") == []
