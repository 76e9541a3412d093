"""Settings: what one process has in force, another one that it starts has too."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtrail.config import load_config
from envtrail.errors import ConfigError
from envtrail.settings import SETTINGS
from envtrail.ship.client import connection_of


def test_a_child_has_the_settings_of_its_parent() -> None:
    flags = {
        "node": "gpu1",
        "elastic.urls": ["https://one:9200", "https://[::1]:9200"],
        "office.hours": ["08:00-12:00", "13:00-18:00"],
        "rules.roots": ["/opt/conda", "/srv/envs"],
        "web.pam": True,
        "store.retention_days": 7,
    }
    parent = load_config(environ={}, flags=flags)
    child = load_config(environ=parent.variables())
    assert [child.value(setting.key) for setting in SETTINGS] == [parent.value(setting.key) for setting in SETTINGS]
    assert set(parent.variables()) == {setting.variable for setting in SETTINGS if setting.key in flags}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "no search server is named"),
        ({"elastic.urls": ["es.example:9200"]}, "not an http or https address"),
        ({"elastic.urls": ["http://es.example:9200"]}, "would send the data unencrypted over the network"),
        ({"elastic.urls": ["https://me:secret@es.example:9200"]}, "contains a secret"),
        ({"elastic.urls": ["https://es.example"], "elastic.api_key_file": "/not/there"}, "cannot be read"),
    ],
)
def test_a_cluster_that_cannot_be_asked_safely_is_not_asked(settings: dict[str, list[str] | str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        connection_of(load_config(environ={}, flags=settings))
    assert "me:secret" not in str(raised.value) + str(raised.value.hint)


def test_secrets_are_read_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    flags = {
        "elastic.urls": ["http://127.0.0.1:9200/"],
        "elastic.user": "me",
        "elastic.password_file": str(tmp_path / "password"),
    }
    connection = connection_of(load_config(environ={}, flags=flags))
    assert (connection.urls, connection.user, connection.password) == (["http://127.0.0.1:9200"], "me", "s3cret")
