"""The API against its own description: any request that can be made gets an answer of the documented shape, and none fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from web_lab import Page, serve_page


def rejects_what_is_invalid(context: CheckContext, response: Response, case: schemathesis.Case) -> bool | None:
    """On the wire a list of one text, or an object, in a query is a text: that one is taken, and rightly."""
    if any(isinstance(value, (list, dict)) for value in (case.query or {}).values()):
        return True
    return negative_data_rejection(context, response, case)


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    rejects_what_is_invalid,
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("api")
    subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(folder), "demo", "--fast"], check=True, capture_output=True
    )
    with serve_page(folder / "demo") as served:
        yield served


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_question_gets_a_documented_answer(page: Page, mode: GenerationMode) -> None:
    bearer = {"Authorization": f"Bearer {page.token}"}
    status, _, text = page.ask("/api/openapi.json", **bearer)
    assert status == 200
    document = json.loads(text)
    # It never ends.
    del document["paths"]["/api/v1/live"]
    schema = schemathesis.openapi.from_dict(document)
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: schemathesis.Case) -> None:
            nonlocal asked
            case.call_and_validate(base_url=page.address, headers=bearer, checks=CHECKS)
            asked += 1

        ask()
    assert asked > 100


@given(id_=st.text(max_size=40))
@settings(max_examples=30, deadline=None, database=None)
def test_any_id_is_answered(page: Page, id_: str) -> None:
    from urllib.parse import quote

    status, _, text = page.ask(f"/api/v1/operations/{quote(id_, safe='')}", Authorization=f"Bearer {page.token}")
    assert status in {404, 422} or json.loads(text)


def test_a_name_of_nothing_is_not_an_empty_answer(page: Page) -> None:
    def ask(question: str) -> tuple[int, str]:
        status, _, text = page.ask(f"/api/v1/{question}", Authorization=f"Bearer {page.token}")
        return status, text

    status, text = ask("operations?package=SIX")
    assert status == 200
    assert {item["matched"] for item in json.loads(text)} == {"changed"}
    for question in (
        "operations?environment=nowhere-at-all",
        "runs?user=nobody-here",
        "operations?package=sixxx",
        "grants?user=x1",
        "operations?tool=nothing",
    ):
        status, text = ask(question)
        assert (status, json.loads(text)["error"]["id"]) == (404, "unknown_name"), question
