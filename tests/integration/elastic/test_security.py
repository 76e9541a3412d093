"""A cluster that asks who comes: real TLS with a client's certificate, accounts and roles, and the words when one of them is wrong."""

from __future__ import annotations

import base64
import hashlib
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cluster_lab import Cluster
from search_lab import SearchServer, search_server

from envtrail.config import Config, load_config
from envtrail.errors import ConfigError, SearchError
from envtrail.export.client import SearchClient, connection_of
from envtrail.export.shipper import Shipper
from envtrail.export.templates import Templates, look_at

pytestmark = [pytest.mark.search, pytest.mark.timeout(180)]

# As docs/elastic.md lists them.
ROLES = """
ships:
  cluster: [monitor]
  indices:
    - {names: ["logs-envtrail.*"], privileges: [create_doc, auto_configure, read, maintenance]}
sets-up:
  cluster: [monitor, manage_index_templates, manage_ilm]
  indices:
    - {names: ["logs-envtrail.*"], privileges: [read, view_index_metadata]}
"""
PASSWORDS = {"shipper": "ship-it-well", "admin": "set-it-up-well", "root": "all-of-it-well"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a client's certificate of it, and a client's of nobody."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        openssl(
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            "-subj",
            f"/CN={name}",
            "-days",
            "2",
        )
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-out",
            f"{name}.pem",
            "-days",
            "2",
            "-extfile",
            "names",
        )
    return folder


@pytest.fixture(scope="module")
def guarded(keys: Path) -> Iterator[SearchServer]:
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    context.load_cert_chain(keys / "client.pem", keys / "client.key")
    files = {
        "roles.yml": ROLES,
        "users": "".join(f"{name}:{_hashed(password)}\n" for name, password in PASSWORDS.items()),
        "users_roles": "ships:shipper\nsets-up:admin\nsuperuser:root\n",
        **{name: (keys / name).read_text() for name in ("ca.pem", "server.pem", "server.key")},
    }
    settings = {
        "xpack.security.enabled": True,
        "xpack.security.http.ssl.enabled": True,
        "xpack.security.http.ssl.key": "server.key",
        "xpack.security.http.ssl.certificate": "server.pem",
        "xpack.security.http.ssl.certificate_authorities": ["ca.pem"],
        "xpack.security.http.ssl.client_authentication": "required",
        "xpack.security.transport.ssl.enabled": False,
    }
    with search_server("elasticsearch", files=files, tls=context, account=("root", PASSWORDS["root"]), **settings) as server:
        yield server


def _hashed(password: str) -> str:
    """As Elasticsearch's file realm takes it."""
    salt = b"0123456789abcdef0123456789abcdef"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 10_000, 32)
    return f"{{PBKDF2}}10000${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def settings_of(
    server: SearchServer, keys: Path, folder: Path, *, user: str = "shipper", password: str = "", **changed: str
) -> Config:
    secret = folder / f"{user}.password"
    secret.write_text(password or PASSWORDS[user])
    flags = {
        "data_dir": str(folder / "trail"),
        "elastic.urls": [server.url],
        "elastic.user": user,
        "elastic.password_file": str(secret),
        "elastic.ca_file": str(keys / "ca.pem"),
        "elastic.client_cert": str(keys / "client.pem"),
        "elastic.client_key": str(keys / "client.key"),
        "elastic.retention_days": 0,
    }
    return load_config(environ={}, flags=flags | {f"elastic.{name}": value for name, value in changed.items()})


def templates_of(client: SearchClient) -> Templates:
    return Templates(client, look_at(client), namespace="default", retention_days=0)


def test_the_roles_that_are_documented_are_enough_and_no_more(
    guarded: SearchServer, keys: Path, recorded: Path, tmp_path: Path
) -> None:
    shutil.copytree(recorded, tmp_path / "trail")
    with closing(SearchClient(connection_of(settings_of(guarded, keys, tmp_path)))) as client:
        with pytest.raises(SearchError, match="403") as raised:
            list(templates_of(client).setup())
        assert "docs/elastic.md" in str(raised.value.hint)
    with closing(SearchClient(connection_of(settings_of(guarded, keys, tmp_path, user="admin")))) as client:
        assert {step.state for step in templates_of(client).setup()} == {"made"}
    config = settings_of(guarded, keys, tmp_path)
    cluster = Cluster(guarded, tmp_path / "trail", "default")
    with (
        closing(SearchClient(connection_of(config))) as client,
        closing(Shipper(cluster.trail, client, config, lambda: cluster.now_ms, jitter=lambda: 0.0)) as shipper,
    ):
        for _ in range(50):
            shipper.step()
            cluster.now_ms += 1000
            assert shipper.fault is None, shipper.fault
            if shipper.is_done():
                break
    assert guarded.count("logs-envtrail.operation-default") == 21


@pytest.mark.parametrize(
    ("changed", "said", "hint"),
    [
        ({"password": "wrong"}, "401", "is not accepted"),
        ({"ca_file": "other.pem"}, "CERTIFICATE_VERIFY_FAILED", "elastic.ca_file"),
        ({"client_cert": "", "client_key": ""}, "does not answer", ""),
    ],
)
def test_what_is_wrong_is_named(
    guarded: SearchServer, keys: Path, tmp_path: Path, changed: dict[str, str], said: str, hint: str
) -> None:
    changed = {name: str(keys / value) if value.endswith(".pem") else value for name, value in changed.items()}
    with closing(SearchClient(connection_of(settings_of(guarded, keys, tmp_path, **changed)))) as client:
        with pytest.raises(SearchError, match=said) as raised:
            look_at(client)
        assert hint in str(raised.value.hint)
        assert "wrong" not in raised.value.message


def test_a_key_that_cannot_be_read_is_named(guarded: SearchServer, keys: Path, tmp_path: Path) -> None:
    config = settings_of(guarded, keys, tmp_path, client_key=str(keys / "ca.pem"))
    with pytest.raises(ConfigError, match=r"elastic\.client_key"):
        SearchClient(connection_of(config))
