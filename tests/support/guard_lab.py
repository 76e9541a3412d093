"""Search servers that require authentication: real TLS with certificates of our own authority, accounts and roles."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import subprocess
import time
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_lab import SearchServer, search_server

from envtrail.documents.fields import STREAMS, stream_name

PASSWORDS = {"shipper": "ship-it-well-7", "admin": "set-it-up-well-7", "reader": "read-it-well-7", "root": "all-of-it-well-7"}
_HOLDS = {"shipper": "ships", "admin": "sets-up", "reader": "reads"}
_OURS = "logs-envtrail.*"

# As docs/elastic.md lists them.
ELASTICSEARCH_ROLES: dict[str, Any] = {
    "ships": {
        "cluster": ["monitor"],
        "indices": [{"names": [_OURS], "privileges": ["create_doc", "auto_configure", "read", "maintenance"]}],
    },
    "sets-up": {
        "cluster": ["monitor", "manage_index_templates", "manage_ilm"],
        "indices": [{"names": [_OURS], "privileges": ["read", "manage"]}],
    },
    "reads": {"cluster": ["monitor"], "indices": [{"names": [_OURS], "privileges": ["read"]}]},
}
OPENSEARCH_ROLES: dict[str, Any] = {
    "ships": {
        "cluster_permissions": ["cluster_monitor", "indices:data/write/bulk"],
        "index_permissions": [
            {
                "index_patterns": [_OURS],
                "allowed_actions": [
                    "read",
                    "indices:data/write/bulk*",
                    "indices:data/write/index*",
                    "indices:admin/create",
                    "indices:admin/refresh*",
                ],
            }
        ],
    },
    "sets-up": {
        "cluster_permissions": ["cluster_monitor", "cluster_manage_index_templates", "cluster:admin/opendistro/ism/*"],
        "index_permissions": [{"index_patterns": [_OURS], "allowed_actions": ["read", "manage"]}],
    },
    "reads": {
        "cluster_permissions": ["cluster_monitor"],
        "index_permissions": [{"index_patterns": [_OURS], "allowed_actions": ["read"]}],
    },
}


@dataclass(frozen=True)
class Guarded:
    """A server, and how its roles are changed."""

    server: SearchServer

    def set_role(self, name: str, *, but: str | None = None, of: Sequence[str] = ()) -> None:
        """Give a role as it is documented; `but` takes one data stream out of it, and `of` names all that are in it."""

        def patterns(documented: list[str]) -> list[str]:
            return list(of) or _but(documented, but)

        if self.server.release.product == "opensearch":
            role = OPENSEARCH_ROLES[name]
            parts = role["index_permissions"]
            role = role | {"index_permissions": [part | {"index_patterns": patterns(part["index_patterns"])} for part in parts]}
            self.server.call("PUT", f"/_plugins/_security/api/roles/{name}", role)
            return
        role = ELASTICSEARCH_ROLES[name]
        role = role | {"indices": [part | {"names": patterns(part["names"])} for part in role["indices"]]}
        (self.server.folder / "conf/roles.yml").write_text(_role_lines(ELASTICSEARCH_ROLES | {name: role}))
        time.sleep(2.5)  # it checks each second

    @contextmanager
    def reads(self, *patterns: str) -> Iterator[None]:
        """Whoever reads may read these and nothing else."""
        self.set_role("reads", of=patterns)
        try:
            yield
        finally:
            self.set_role("reads")


def _but(patterns: list[str], stream: str | None) -> list[str]:
    if stream is None:
        return patterns
    assert stream in STREAMS
    return [stream_name(kind, "*") for kind in STREAMS if kind != stream]


def make_keys(folder: Path) -> Path:
    """An authority; a server's, a client's and an administrator's certificate of it; and an authority that nobody trusts."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    for name in ("ca", "other"):
        openssl(*new, "-x509", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    by_authority = ("x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names")
    for name in ("server", "client", "super"):
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(*by_authority, "-in", f"{name}.csr", "-out", f"{name}.pem")
    return folder


def elasticsearch_accounts(roles: Mapping[str, Any]) -> dict[str, str]:
    """Files of a server's settings: the accounts, each with its role, and one that may do all."""
    return {
        "roles.yml": _role_lines(roles),
        "users": "".join(f"{name}:{_hashed(password)}\n" for name, password in PASSWORDS.items()),
        "users_roles": "superuser:root\n" + "".join(f"{role}:{name}\n" for name, role in _HOLDS.items()),
    }


@contextmanager
def guarded_server(name: str, keys: Path) -> Iterator[Guarded]:
    """A server that lets in whoever has a certificate of the authority, and an account."""
    with {"elasticsearch": _elasticsearch, "opensearch-guarded": _opensearch}[name](keys) as guarded:
        yield guarded


def _tls(keys: Path, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    context.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
    return context


def _keys_of_server(keys: Path) -> dict[str, str]:
    return {name: (keys / name).read_text() for name in ("ca.pem", "server.pem", "server.key")}


@contextmanager
def _elasticsearch(keys: Path) -> Iterator[Guarded]:
    files = {
        **elasticsearch_accounts(ELASTICSEARCH_ROLES),
        **_keys_of_server(keys),
    }
    settings = {
        "xpack.security.enabled": True,
        "xpack.security.http.ssl.enabled": True,
        "xpack.security.http.ssl.key": "server.key",
        "xpack.security.http.ssl.certificate": "server.pem",
        "xpack.security.http.ssl.certificate_authorities": ["ca.pem"],
        "xpack.security.http.ssl.client_authentication": "required",
        "xpack.security.transport.ssl.enabled": False,
        "resource.reload.interval.high": "1s",
    }
    account = ("root", PASSWORDS["root"])
    with search_server("elasticsearch", files=files, tls=_tls(keys, "client"), account=account, **settings) as server:
        yield Guarded(server)


@contextmanager
def _opensearch(keys: Path) -> Iterator[Guarded]:
    """Whoever has the administrator's certificate gives out roles and accounts over HTTP, as people do."""
    settings: dict[str, Any] = {
        "plugins.security.allow_default_init_securityindex": True,
        "plugins.security.authcz.admin_dn": ["CN=super"],
        "plugins.security.nodes_dn": ["CN=server"],
        "plugins.security.ssl.http.enabled": True,
        "plugins.security.ssl.http.clientauth_mode": "REQUIRE",
        "plugins.security.ssl.transport.enforce_hostname_verification": False,
    }
    for layer in ("http", "transport"):
        settings[f"plugins.security.ssl.{layer}.pemkey_filepath"] = "server.key"
        settings[f"plugins.security.ssl.{layer}.pemcert_filepath"] = "server.pem"
        settings[f"plugins.security.ssl.{layer}.pemtrustedcas_filepath"] = "ca.pem"
    basic = {
        "http_enabled": True,
        "order": 0,
        "http_authenticator": {"type": "basic", "challenge": True},
        "authentication_backend": {"type": "internal"},
    }
    documents: dict[str, tuple[str, Mapping[str, Any]]] = {
        "config": ("config", {"config": {"dynamic": {"authc": {"basic": basic}}}}),
        **{
            name: (kind, {})
            for name, kind in (
                ("internal_users", "internalusers"),
                ("roles", "roles"),
                ("roles_mapping", "rolesmapping"),
                ("action_groups", "actiongroups"),
                ("tenants", "tenants"),
                ("nodes_dn", "nodesdn"),
            )
        },
    }
    files = {
        f"opensearch-security/{name}.yml": json.dumps({"_meta": {"type": kind, "config_version": 2}} | dict(body))
        for name, (kind, body) in documents.items()
    }
    with search_server("opensearch-guarded", files=files | _keys_of_server(keys), tls=_tls(keys, "super"), **settings) as server:
        _wait_for_accounts(server)
        guarded = Guarded(server)
        for user, role in _HOLDS.items():
            guarded.set_role(role)
            path = "/_plugins/_security/api"
            server.call("PUT", f"{path}/internalusers/{user}", {"password": PASSWORDS[user]})
            server.call("PUT", f"{path}/rolesmapping/{role}", {"users": [user]})
        yield guarded


def _wait_for_accounts(server: SearchServer) -> None:
    """It answers before the plugin has made the index that its accounts are in."""
    until = time.monotonic() + 60
    while True:
        try:
            server.call("GET", "/_plugins/_security/api/roles")
        except urllib.error.HTTPError as fault:
            if fault.code not in {500, 503} or time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return


def _role_lines(roles: Mapping[str, Any]) -> str:
    return "".join(f"{name}: {json.dumps(role)}\n" for name, role in roles.items())


def _hashed(password: str) -> str:
    """As Elasticsearch's file realm takes it."""
    salt = b"0123456789abcdef0123456789abcdef"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 10_000, 32)
    return f"{{PBKDF2}}10000${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
