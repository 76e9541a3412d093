"""What each product requests from a server for a panel, read from the files that it imports, and the rows that it makes of the answer.

References:
    https://github.com/elastic/kibana: lens/public/datasources/form_based/to_expression.ts and operations/definitions/*;
    data/common/search/aggs (terms: `_terms_order_helper`, `_terms_other_bucket_helper`; `top_hit`, `top_metrics`)
    https://github.com/grafana/grafana: pkg/tsdb/elasticsearch
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Row = tuple[Any, ...]
Saved = dict[tuple[str, str], dict[str, Any]]
OTHER, MISSING = "__other__", "__missing__"
_METRICS = {"sum": "sum", "max": "max", "unique_count": "cardinality", "cardinality": "cardinality"}


class Bucket(NamedTuple):
    name: str
    aggregation: dict[str, Any]
    field: str
    other: bool = False
    """What the top values leave out is requested as well."""


class Figure(NamedTuple):
    name: str
    aggregation: dict[str, Any] | None
    """None: the documents are counted."""
    field: str = ""

    def of(self, bucket: dict[str, Any]) -> Any:
        """What is shown of a bucket."""
        if self.aggregation is None:
            return bucket["doc_count"]
        found = bucket[self.name]
        if "hits" not in found:
            return found["value"]
        hits = found["hits"]["hits"]
        return hits[0].get("fields", {}).get(self.field, [None])[0] if hits else None


class Search(NamedTuple):
    """One panel's."""

    index: str
    query: dict[str, Any]
    buckets: list[Bucket]
    figures: list[Figure]

    def rows(self, ask: Callable[[str, dict[str, Any]], dict[str, Any]], filters: list[dict[str, Any]]) -> list[Row]:
        """A value of each bucket, then each figure; `filters` are what the page adds."""
        query = {"bool": {"filter": [self.query, *filters]}}
        body = {"size": 0, "track_total_hits": True, "query": query, "aggs": self._below(0)}
        answer = ask(self.index, body)
        top = answer.get("aggregations", {}) | {"doc_count": answer["hits"]["total"]["value"]}
        if self.buckets and self.buckets[0].other:
            self._add_others(top, lambda aggs: ask(self.index, body | {"aggs": aggs}))
        assert not any(bucket.other for bucket in self.buckets[1:]), "only the first of a panel's buckets has a row of others"
        return list(self._walk(top, 0, ()))

    def _below(self, depth: int) -> dict[str, Any]:
        aggs = {figure.name: figure.aggregation for figure in self.figures if figure.aggregation is not None}
        if depth == len(self.buckets):
            return aggs
        return aggs | {self.buckets[depth].name: self.buckets[depth].aggregation | {"aggs": self._below(depth + 1)}}

    def _add_others(self, top: dict[str, Any], ask: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Kibana's second request, for what is in none of the buckets."""
        first = self.buckets[0]
        found = top[first.name]
        if not found["sum_other_doc_count"]:
            return
        keys = [bucket["key"] for bucket in found["buckets"]]
        exists = [{"exists": {"field": first.field}}] if MISSING in keys else []
        shown = [{"match_phrase": {first.field: key}} for key in keys if key != MISSING]
        others = {"filters": {"filters": {"": {"bool": {"filter": exists, "must_not": shown}}}}, "aggs": self._below(1)}
        bucket = ask({"other-filter": others})["aggregations"]["other-filter"]["buckets"][""]
        found["buckets"].append(bucket | {"key": OTHER})

    def _walk(self, bucket: dict[str, Any], depth: int, above: Row) -> Iterator[Row]:
        if depth == len(self.buckets):
            yield (*above, *(figure.of(bucket) for figure in self.figures))
            return
        for one in bucket[self.buckets[depth].name]["buckets"]:
            yield from self._walk(one, depth + 1, (*above, "unknown" if one["key"] == MISSING else one["key"]))


def by_reference(objects: Iterator[dict[str, Any]]) -> Saved:
    """Objects by type and id."""
    return {(item["type"], item["id"]): item for item in objects}


def of_lens(saved: Saved, name: str) -> Search:
    """A Lens panel's, as the form-based data source makes it of the columns."""
    lens = saved["lens", f"envtrail-{name}"]
    state = lens["attributes"]["state"]
    ((layer_id, layer),) = state["datasourceStates"]["formBased"]["layers"].items()
    referred = {reference["name"]: (reference["type"], reference["id"]) for reference in lens["references"]}
    view = saved[referred[f"indexpattern-datasource-layer-{layer_id}"]]["attributes"]
    order: list[str] = layer["columnOrder"]
    buckets, figures = [], []
    for number, column_id in enumerate(order):
        column = layer["columns"][column_id]
        assert "filter" not in column, "not understood here"
        if column["isBucketed"]:
            buckets.append(_lens_bucket(str(number), column, layer["columns"], order))
        else:
            figures.append(_lens_figure(str(number), column))
    assert state["query"]["language"] == "lucene"
    query = {"query_string": {"query": state["query"]["query"], "analyze_wildcard": True}}
    return Search(view["title"], query, buckets, figures)


def _lens_bucket(name: str, column: dict[str, Any], columns: dict[str, Any], order: list[str]) -> Bucket:
    params, field = column["params"], column["sourceField"]
    if column["operationType"] == "date_histogram":
        assert params["interval"] == "1d"
        shape = {"field": field, "calendar_interval": "1d", "min_doc_count": 0 if params["includeEmptyRows"] else 1}
        return Bucket(name, {"date_histogram": shape}, field)
    assert column["operationType"] == "terms"
    by = params["orderBy"]["columnId"]
    path = "_count" if columns[by]["operationType"] == "count" else str(order.index(by))
    shape = {"field": field, "size": params["size"], "order": {path: params["orderDirection"]}}
    if params["size"] <= 10:
        shape["shard_size"] = 25
    if params["otherBucket"] and params["missingBucket"]:
        shape["missing"] = MISSING
    return Bucket(name, {"terms": shape}, field, params["otherBucket"])


def _lens_figure(name: str, column: dict[str, Any]) -> Figure:
    kind, field = column["operationType"], column["sourceField"]
    if kind == "count":
        assert field == "___records___"
        return Figure(name, None)
    if kind == "last_value":
        assert column["params"]["showArrayValues"], "top_metrics, which the servers here do not have"
        sort = [{column["params"]["sortField"]: {"order": "desc"}}]
        return Figure(name, {"top_hits": {"fields": [{"field": field}], "_source": False, "size": 1, "sort": sort}}, field)
    return Figure(name, {_METRICS[kind]: {"field": field}}, field)


def of_visualization(saved: Saved, name: str) -> Search:
    """An aggregation-based panel's."""
    item = saved["visualization", f"envtrail-{name}"]
    source = json.loads(item["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    referred = {reference["name"]: (reference["type"], reference["id"]) for reference in item["references"]}
    buckets, figures = [], []
    for agg in json.loads(item["attributes"]["visState"])["aggs"]:
        params, name = agg["params"], agg["id"]
        field = params.get("field", "")
        match agg["type"]:
            case "terms":
                ordering = next(figure for figure in figures if figure.name == params["orderBy"])
                path = "_count" if ordering.aggregation is None else ordering.name
                shape = {"field": field, "size": params["size"], "order": {path: params["order"]}}
                shape |= {"missing": MISSING} if params["missingBucket"] else {}
                buckets.append(Bucket(name, {"terms": shape}, field, params["otherBucket"]))
            case "date_histogram":
                shape = {"field": field, "calendar_interval": f"1{params['interval']}", "min_doc_count": params["min_doc_count"]}
                buckets.append(Bucket(name, {"date_histogram": shape}, field))
            case "count":
                figures.append(Figure(name, None))
            case "top_hits":
                sort = [{params["sortField"]: {"order": params["sortOrder"]}}]
                shape = {"docvalue_fields": [{"field": field}], "_source": field, "size": params["size"], "sort": sort}
                figures.append(Figure(name, {"top_hits": shape}, field))
            case kind:
                figures.append(Figure(name, {_METRICS[kind]: {"field": field}}, field))
    query = {"query_string": {"query": source["query"]["query"], "analyze_wildcard": True}}
    return Search(saved[referred[source["indexRefName"]]]["attributes"]["title"], query, buckets, figures)


def of_grafana(dashboard: dict[str, Any], title: str, chosen: dict[str, str]) -> Search:
    """A Grafana panel's; `top_metrics`, which the servers here do not have, is requested as the `top_hits` that it stands for."""
    (panel,) = (panel for panel in dashboard["panels"] if panel["title"] == title)
    (target,) = panel["targets"]
    text = target["query"]
    for variable in dashboard["templating"]["list"]:
        value = f'("{chosen[variable["name"]]}")' if variable["name"] in chosen else variable["allValue"]
        text = text.replace("${" + variable["name"] + "}", value)
    assert "${" not in text
    buckets, figures = [], []
    for metric in target["metrics"]:
        field = metric.get("field", "")
        if metric["type"] == "count":
            figures.append(Figure(metric["id"], None))
        elif metric["type"] == "top_metrics":
            settings = metric["settings"]
            (field,) = settings["metrics"]
            sort = [{settings["orderBy"]: {"order": settings["order"]}}]
            shape = {"docvalue_fields": [{"field": field}], "_source": False, "size": 1, "sort": sort}
            figures.append(Figure(metric["id"], {"top_hits": shape}, field))
        else:
            figures.append(Figure(metric["id"], {metric["type"]: {"field": field}}, field))
    for bucket in target["bucketAggs"]:
        settings, field = bucket["settings"], bucket["field"]
        if bucket["type"] == "date_histogram":
            assert settings["interval"] == "1d"
            shape = {"field": field, "fixed_interval": settings["interval"], "min_doc_count": int(settings["min_doc_count"])}
        else:
            shape = {"field": field, "size": int(settings["size"]), "order": {settings["orderBy"]: settings["order"]}}
            shape |= {"missing": settings["missing"]} if "missing" in settings else {}
        buckets.append(Bucket(bucket["id"], {bucket["type"]: shape}, field))
    query = {"query_string": {"query": text, "analyze_wildcard": True}}
    return Search("logs-envtrail.*", query, buckets, figures)
