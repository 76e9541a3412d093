"""The saved objects that Kibana imports, as strictly as its sources and published exports define: no key more, each of its type.

It holds what Envtrail uses of them. Written after, and not copied from:
    https://github.com/elastic/kibana: the attributes of `lens` (`lensItemAttributesSchema`: unknowns forbidden) and `dashboard`
    (`dashboardAttributesSchema` of 8.9.0: unknowns forbidden), `DataViewAttributes`, the columns of the form-based data source
    (operations/definitions/*), and `XYState`, `PieVisualizationState`, `DatatableVisualizationState`, `MetricVisualizationState`
    https://github.com/elastic/integrations: packages/nginx/kibana/lens, packages/cisco_duo/kibana/dashboard
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar, Union

import msgspec
from msgspec import Struct, field

_V = TypeVar("_V")
_Scale = Literal["ordinal", "interval", "ratio"]
_DataType = Literal["string", "number", "date", "boolean", "ip"]


class _Strict(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    pass


class _Reference(_Strict):
    name: str
    type: Literal["index-pattern", "lens"]
    id: str


class _Query(_Strict):
    query: str
    language: Literal["kuery", "lucene"]


class _Column(_Strict, tag_field="operationType"):
    label: str
    custom_label: bool
    data_type: _DataType
    is_bucketed: bool
    scale: _Scale
    source_field: str


class _OrderBy(_Strict):
    type: Literal["column"]
    column_id: str


class _ParentFormat(_Strict):
    id: Literal["terms"]


class _TermsParams(_Strict):
    size: int
    order_by: _OrderBy
    order_direction: Literal["asc", "desc"]
    other_bucket: bool
    missing_bucket: bool
    parent_format: _ParentFormat


class _Terms(_Column, tag="terms"):
    params: _TermsParams


class _DateHistogramParams(_Strict):
    interval: str
    include_empty_rows: bool
    drop_partials: bool


class _DateHistogram(_Column, tag="date_histogram"):
    params: _DateHistogramParams


class _CountedParams(_Strict):
    empty_as_null: bool


class _Count(_Column, tag="count"):
    params: _CountedParams


class _Sum(_Column, tag="sum"):
    params: _CountedParams


class _UniqueCount(_Column, tag="unique_count"):
    params: _CountedParams


class _NoParams(_Strict):
    pass


class _Max(_Column, tag="max"):
    params: _NoParams


class _LastValueParams(_Strict):
    sort_field: str
    show_array_values: bool


class _LastValue(_Column, tag="last_value"):
    params: _LastValueParams


class _FormLayer(_Strict):
    column_order: list[str]
    columns: dict[str, Union[_Terms, _DateHistogram, _Count, _Sum, _UniqueCount, _Max, _LastValue]]
    incomplete_columns: dict[str, Any]


class _FormBased(_Strict):
    layers: dict[str, _FormLayer]


class _DatasourceStates(_Strict):
    form_based: _FormBased


class _State(_Strict, Generic[_V]):
    datasource_states: _DatasourceStates
    visualization: _V
    query: _Query
    filters: list[Any]
    internal_references: list[_Reference]
    ad_hoc_data_views: dict[str, Any]


class _Layer(_Strict):
    layer_id: str
    layer_type: Literal["data"]


class _Metric(_Layer):
    metric_accessor: str


class _TableColumn(_Strict):
    column_id: str
    is_transposed: bool
    is_metric: bool


class _Paging(_Strict):
    size: Literal[10, 20, 30, 50, 100]
    enabled: bool


class _Table(_Layer):
    columns: list[_TableColumn]
    paging: _Paging


class _PieLayer(_Layer):
    primary_groups: list[str]
    metrics: list[str]
    number_display: Literal["hidden", "percent", "value"]
    category_display: Literal["default", "inside", "hide"]
    legend_display: Literal["default", "show", "hide"]
    nested_legend: bool


class _Pie(_Strict):
    shape: Literal["pie", "donut", "treemap", "mosaic", "waffle"]
    layers: list[_PieLayer]


class _Series(_Layer):
    series_type: Literal["bar", "bar_stacked", "bar_horizontal", "line", "area"]
    x_accessor: str
    accessors: list[str]
    split_accessor: Union[str, msgspec.UnsetType] = msgspec.UNSET


class _Legend(_Strict):
    is_visible: bool
    position: Literal["top", "right", "bottom", "left"]


class _Axes(_Strict):
    x: bool
    y_left: bool
    y_right: bool


class _XY(_Strict):
    preferred_series_type: Literal["bar", "bar_stacked", "bar_horizontal", "line", "area"]
    legend: _Legend
    value_labels: Literal["hide", "show"]
    fitting_function: Literal["None", "Zero", "Linear", "Carry", "Lookahead", "Average", "Nearest"]
    axis_titles_visibility_settings: _Axes
    layers: list[_Series]


class _Lens(_Strict, Generic[_V], tag_field="visualizationType"):
    title: str
    description: str
    state: _State[_V]


class _LensXY(_Lens[_XY], tag="lnsXY"):
    pass


class _LensPie(_Lens[_Pie], tag="lnsPie"):
    pass


class _LensTable(_Lens[_Table], tag="lnsDatatable"):
    pass


class _LensMetric(_Lens[_Metric], tag="lnsMetric"):
    pass


class _View(_Strict):
    title: str
    name: str
    time_field_name: str
    allow_no_index: bool


class _Source(_Strict):
    source: str = field(name="searchSourceJSON")


class _Controls(_Strict):
    control_style: Literal["oneLine", "twoLine"]
    chaining_system: Literal["HIERARCHICAL", "NONE"]
    panels: str = field(name="panelsJSON")
    ignored: str = field(name="ignoreParentSettingsJSON")


class _Dashboard(_Strict):
    title: str
    description: str
    panels: str = field(name="panelsJSON")
    options: str = field(name="optionsJSON")
    control_group_input: _Controls
    version: int
    time_restore: bool
    time_from: str
    time_to: str
    kibana_saved_object_meta: _Source


class _Grid(_Strict):
    x: int
    y: int
    w: int
    h: int
    i: str


class _Enhancements(_Strict):
    enhancements: dict[str, Any]


class _Panel(_Strict):
    type: Literal["lens"]
    version: str
    grid_data: _Grid
    panel_index: str
    embeddable_config: _Enhancements
    title: str
    panel_ref_name: str


class _Options(_Strict):
    use_margins: bool
    sync_colors: bool
    sync_cursor: bool
    sync_tooltips: bool
    hide_panel_titles: bool


class _Input(_Strict):
    id: str
    title: str
    field_name: str
    enhancements: dict[str, Any]


class _Control(_Strict):
    order: int
    width: Literal["small", "medium", "large"]
    grow: bool
    type: Literal["optionsListControl"]
    explicit_input: _Input


class _Ignored(_Strict):
    ignore_filters: bool
    ignore_query: bool
    ignore_timerange: bool
    ignore_validations: bool


class _SearchSource(_Strict):
    query: _Query
    filter: list[Any]


class _Saved(_Strict, tag_field="type"):
    id: str
    references: list[_Reference]
    core_migration_version: str
    type_migration_version: str


class _SavedView(_Saved, tag="index-pattern"):
    attributes: _View


class _SavedLens(_Saved, tag="lens"):
    attributes: Union[_LensXY, _LensPie, _LensTable, _LensMetric]


class _SavedDashboard(_Saved, tag="dashboard"):
    attributes: _Dashboard


def check(saved: dict[str, Any]) -> None:
    """That an object has the published shape, the JSON in its texts included.

    Raises:
        msgspec.ValidationError: with the place.
    """
    known = msgspec.convert(saved, type=Union[_SavedView, _SavedLens, _SavedDashboard])
    if isinstance(known, _SavedDashboard):
        board = known.attributes
        msgspec.json.decode(board.panels, type=list[_Panel])
        msgspec.json.decode(board.options, type=_Options)
        msgspec.json.decode(board.control_group_input.panels, type=dict[str, _Control])
        msgspec.json.decode(board.control_group_input.ignored, type=_Ignored)
        msgspec.json.decode(board.kibana_saved_object_meta.source, type=_SearchSource)
