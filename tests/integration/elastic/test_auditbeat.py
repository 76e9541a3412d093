"""What Auditbeat wrote, indexed by a real server and exported from it again, is the same input."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from search_lab import SearchServer

pytestmark = [pytest.mark.search, pytest.mark.timeout(300)]

FILE = Path(__file__).parents[2] / "data" / "auditbeat" / "bare.ndjson.gz"
INDICES = ("auditbeat-7.17.28-000001", "auditbeat-7.17.28-000002")


@pytest.fixture(scope="module")
def client(server: SearchServer) -> Iterator[httpx.Client]:
    """Both halves of the recording, the newer one in a second index, as a rollover leaves them."""
    lines = gzip.decompress(FILE.read_bytes()).splitlines()
    with httpx.Client(base_url=server.url, timeout=60, headers={"Content-Type": "application/json"}) as client:
        for index, half in zip(INDICES, (lines[:150], lines[150:]), strict=True):
            documents = [
                json.dumps({key: value for key, value in json.loads(line).items() if key != "@metadata"}) for line in half
            ]
            body = "".join(f'{{"create":{{}}}}\n{document}\n' for document in documents)
            answer = client.post(f"/{index}/_bulk", params={"refresh": "true"}, content=body).json()
            assert answer["errors"] is False, answer
        yield client


def hits(client: httpx.Client) -> list[dict[str, Any]]:
    """By scrolling in no order, as elasticdump does."""
    answer = client.post("/auditbeat-*/_search", params={"scroll": "1m", "size": "50"}, content='{"sort":["_doc"]}').json()
    found = []
    while answer["hits"]["hits"]:
        found += answer["hits"]["hits"]
        answer = client.post("/_search/scroll", content=json.dumps({"scroll": "1m", "scroll_id": answer["_scroll_id"]})).json()
    return found


def imported(path: Path, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(folder), "ENVTRAIL_NODE": "gpu1"}

    def ask(*words: str) -> list[dict[str, Any]]:
        words = (sys.executable, "-m", "envtrail", *words, "--json")
        done = subprocess.run(words, env=environment, capture_output=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    (report,) = ask("import", str(path))
    return report, ask("log")


@pytest.mark.parametrize("shape", ["dumped", "searched"])
def test_an_export_is_the_same_history(shape: str, client: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    if shape == "dumped":
        found = hits(client)
        indices = [hit["_index"] for hit in found]
        assert indices != sorted(indices)
        path.write_text("".join(json.dumps(hit) + "\n" for hit in found))
    else:
        path.write_bytes(client.post("/auditbeat-*/_search", params={"size": "1000"}, content="{}").content)
    report, operations = imported(path, tmp_path / "export")
    direct, expected = imported(FILE, tmp_path / "direct")
    assert report["documents"] == direct["documents"]
    assert report["documents"]["taken"] == 300
    assert operations == expected
    assert len(operations) == 4
