"""What Envtrail keeps on a cluster: templates, retention, data streams; created, compared, updated and removed.

References:
    https://www.elastic.co/docs/manage-data/data-store/templates
    https://www.elastic.co/docs/manage-data/lifecycle/index-lifecycle-management
    https://docs.opensearch.org/latest/im-plugin/ism/policies/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from envtrail.documents.fields import STANDING, STREAMS, mapping, stream_name
from envtrail.errors import SearchError

if TYPE_CHECKING:
    from envtrail.ship.client import SearchClient

VERSION = 2
"""Version of everything made here; incremented with each change of a mapping or a setting."""
POLICY = "envtrail"
_META = {"managed_by": "envtrail", "version": VERSION}
_SETTINGS = "envtrail-settings"
_MAPPINGS = "envtrail-mappings"
_PRIORITY = 500
"""Above the 100 of Elasticsearch's own template of `logs-*-*`."""
_LONGEST_AGE_DAYS = 30
"""Of an index that still accepts documents."""


class Cluster(Struct, frozen=True, kw_only=True):
    """The search server and its cluster."""

    product: str
    """`elasticsearch` or `opensearch`."""
    version: str
    """Empty when the server does not report it."""
    lifecycle: str | None
    """`ilm`, `ism`, or None: it deletes nothing by itself."""
    id: str = ""
    """Unique for each cluster; empty when this account may not read it."""


class SetupStep(Struct, frozen=True, kw_only=True):
    """The state of one object on the cluster."""

    what: str
    state: str
    """`fine`, `made`, `updated`, `removed`, `missing`, `older`, `newer`, `different`, `in use` or `impossible`."""
    hint: str = ""


def identify_cluster(client: SearchClient) -> Cluster:
    """Product, version and capabilities of the server.

    Raises:
        SearchError: it does not answer.
    """
    root = client.request("GET", "/", fine=(405,))
    given = root.get("version") if isinstance(root.get("version"), dict) else {}
    product = "opensearch" if given.get("distribution") == "opensearch" else "elasticsearch"
    path = "/_plugins/_ism/policies" if product == "opensearch" else "/_ilm/status"
    lifecycle: str | None = "ism" if product == "opensearch" else "ilm"
    try:
        client.request("GET", path)
    except SearchError as fault:
        # An account that may only ship gets 403: this does not say whether the endpoint exists.
        if fault.status not in {400, 403, 404, 405, 500}:
            raise
        lifecycle = lifecycle if fault.status == 403 else None
    named = client.request("GET", "/_cluster/state/master_node?filter_path=cluster_uuid", fine=(401, 403))
    uuid = str(named.get("cluster_uuid", ""))
    return Cluster(product=product, version=str(given.get("number", "")), lifecycle=lifecycle, id=uuid)


class Templates:
    """Everything that belongs to one namespace on one cluster.

    Args:
        client: Of the cluster.
        cluster: Its product and version.
        namespace: Last part of the data streams' names.
        retention_days: How long documents are kept; 0: forever.
    """

    def __init__(self, client: SearchClient, cluster: Cluster, *, namespace: str, retention_days: int) -> None:
        self._client = client
        self._cluster = cluster
        self._namespace = namespace
        self._days = retention_days

    def setup(self) -> Iterator[SetupStep]:
        """Create what is missing and update what is older; idempotent.

        Raises:
            SearchError: the server rejects a request.
        """
        yield from self._setup_policy()
        changed = False
        for path, wanted in self._wanted():
            state = self._state(path, wanted)
            if state in {"fine", "newer"}:
                yield SetupStep(what=path, state=state, hint=_NEWER if state == "newer" else "")
                continue
            self._client.request("PUT", path, wanted)
            changed = True
            yield SetupStep(what=path, state="made" if state == "missing" else "updated")
        if changed:
            yield from self._update_streams()

    def check(self) -> Iterator[SetupStep]:
        """Compare the cluster with what `setup` would make."""
        setup = "envtrail elastic setup"
        if self._days and self._cluster.lifecycle is None:
            yield SetupStep(what="retention", state="impossible", hint=_NO_LIFECYCLE)
        elif self._wants_policy():
            state = self._policy_state()
            yield SetupStep(what=self._policy_path(), state=state, hint="" if state == "fine" else setup)
        for path, wanted in self._wanted():
            state = self._state(path, wanted)
            hint = {"fine": "", "newer": _NEWER}.get(state, setup)
            yield SetupStep(what=path, state=state, hint=hint)

    def teardown(self, *, with_data: bool) -> Iterator[SetupStep]:
        """Remove what `setup` made; the documents only on request."""
        if with_data:
            for kind in STREAMS:
                name = stream_name(kind, self._namespace)
                if self._stream_exists(name):
                    self._client.request("DELETE", f"/_data_stream/{name}", fine=(404,))
                    yield SetupStep(what=name, state="removed")
        for path, _ in reversed(list(self._wanted())):
            if self._client.exists(path):
                yield self._remove(path)
        if self._cluster.lifecycle is not None and self._client.exists(self._policy_path()):
            self._client.request("DELETE", self._policy_path())
            yield SetupStep(what=self._policy_path(), state="removed")

    def _remove(self, path: str) -> SetupStep:
        try:
            self._client.request("DELETE", path)
        except SearchError as fault:
            # What a data stream, or a template, still uses cannot be removed.
            if fault.status != 400:
                raise
            return SetupStep(what=path, state="in use", hint="documents need it: --data deletes them too")
        return SetupStep(what=path, state="removed")

    def _wanted(self) -> Iterator[tuple[str, dict[str, Any]]]:
        settings: dict[str, Any] = {"codec": "best_compression", "mapping": {"ignore_malformed": True}}
        yield (
            f"/_component_template/{_SETTINGS}",
            {"version": VERSION, "_meta": _META, "template": {"settings": {"index": settings}}},
        )
        yield f"/_component_template/{_MAPPINGS}", {"version": VERSION, "_meta": _META, "template": {"mappings": mapping()}}
        for kind in STREAMS:
            has_end = self._days and self._cluster.lifecycle == "ilm" and kind not in STANDING
            own = {"template": {"settings": {"index": {"lifecycle": {"name": POLICY}}}}} if has_end else {}
            yield (
                f"/_index_template/logs-envtrail.{kind}",
                own
                | {
                    "version": VERSION,
                    "_meta": _META,
                    "index_patterns": [f"logs-envtrail.{kind}-*"],
                    "data_stream": {},
                    "priority": _PRIORITY,
                    "composed_of": [_SETTINGS, _MAPPINGS],
                },
            )

    def _state(self, path: str, wanted: dict[str, Any]) -> str:
        answer = self._client.request("GET", path, fine=(404,))
        found = next(iter(answer.get("component_templates") or answer.get("index_templates") or ()), None)
        if found is None:
            return "missing"
        held = found.get("component_template") or found["index_template"]
        theirs = held.get("version") or 0
        if theirs != VERSION:
            return "newer" if theirs > VERSION else "older"
        return "fine" if _holds(held, wanted) else "different"

    def _update_streams(self) -> Iterator[SetupStep]:
        """Add new fields to the existing indices; where that is impossible, to the next one."""
        for kind in STREAMS:
            name = stream_name(kind, self._namespace)
            if not self._stream_exists(name):
                continue
            try:
                self._client.request("PUT", f"/{name}/_mapping", mapping())
            except SearchError as fault:
                if fault.status != 400:
                    raise
                self._client.request("POST", f"/{name}/_rollover")
            yield SetupStep(what=name, state="updated")

    def _stream_exists(self, name: str) -> bool:
        # `_data_stream` does not exist everywhere; a search does.
        return self._client.exists(f"/{name}/_search?size=0")

    def _wants_policy(self) -> bool:
        """Without retention there is no policy; but one from before must not go on deleting."""
        return bool(self._days) or (self._cluster.lifecycle is not None and self._policy_state() != "missing")

    def _setup_policy(self) -> Iterator[SetupStep]:
        if not self._wants_policy():
            return
        if self._cluster.lifecycle is None:
            yield SetupStep(what="retention", state="impossible", hint=_NO_LIFECYCLE)
            return
        state = self._policy_state()
        if state == "fine":
            yield SetupStep(what=self._policy_path(), state=state)
            return
        path = self._policy_path()
        if self._cluster.lifecycle == "ism" and state != "missing":
            # An existing policy can only be replaced by naming the version that was read (optimistic locking).
            held = self._client.request("GET", path)
            path += f"?if_seq_no={held['_seq_no']}&if_primary_term={held['_primary_term']}"
        self._client.request("PUT", path, self._policy())
        yield SetupStep(what=self._policy_path(), state="made" if state == "missing" else "updated")

    def _policy_state(self) -> str:
        answer = self._client.request("GET", self._policy_path(), fine=(404,))
        if answer.get("status") == 404 or not answer:
            return "missing"
        held = answer if self._cluster.lifecycle == "ism" else answer[POLICY]
        wanted = self._policy()
        # An additional phase would delete documents that must be kept.
        has_phases = self._cluster.lifecycle == "ism" or held["policy"]["phases"].keys() == wanted["policy"]["phases"].keys()
        return "fine" if has_phases and _holds(held, wanted) else "different"

    def _policy_path(self) -> str:
        return f"/_plugins/_ism/policies/{POLICY}" if self._cluster.lifecycle == "ism" else f"/_ilm/policy/{POLICY}"

    def _policy(self) -> dict[str, Any]:
        # An index is deleted as a whole, by the time of its rollover: its first document is kept longer by the time it was open.
        age = f"{min(_LONGEST_AGE_DAYS, max(1, self._days // 10)) if self._days else _LONGEST_AGE_DAYS}d"
        rollover = {"max_age": age, "max_primary_shard_size": "50gb"}
        if self._cluster.lifecycle == "ilm":
            phases: dict[str, Any] = {"hot": {"actions": {"rollover": rollover}}}
            if self._days:
                phases["delete"] = {"min_age": f"{self._days}d", "actions": {"delete": {}}}
            return {"policy": {"phases": phases, "_meta": _META}}
        patterns = [f"logs-envtrail.{kind}-*" for kind in STREAMS if kind not in STANDING]
        hot: dict[str, Any] = {
            "name": "hot",
            "actions": [{"rollover": {"min_index_age": age, "min_primary_shard_size": "50gb"}}],
            "transitions": [],
        }
        states = [hot]
        if self._days:
            hot["transitions"] = [{"state_name": "delete", "conditions": {"min_rollover_age": f"{self._days}d"}}]
            states.append({"name": "delete", "actions": [{"delete": {}}], "transitions": []})
        return {
            "policy": {
                "description": f"envtrail, version {VERSION}",
                "default_state": "hot",
                "states": states,
                "ism_template": [{"index_patterns": patterns, "priority": _PRIORITY}],
            }
        }


def _holds(held: Any, wanted: Any) -> bool:
    """Whether the server holds all that is wanted; a server adds its own keys, and may return a number as text."""
    if isinstance(wanted, dict):
        return isinstance(held, dict) and all(_holds(held.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(held, list) and len(held) == len(wanted) and all(map(_holds, held, wanted))
    return bool(held == wanted or (not isinstance(held, dict) and str(held).lower() == str(wanted).lower()))


_NEWER = "a newer version of Envtrail made it; it is left unchanged"
_NO_LIFECYCLE = "this server has neither ILM nor ISM: delete old indices by other means, or set elastic.retention_days=0"
