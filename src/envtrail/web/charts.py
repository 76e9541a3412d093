"""Charts, and the options that all of them share. Drawn as SVG, so that the page's own styles colour the text in both themes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

BLUE, GREEN, RED, ORANGE = "#0969da", "#1a7f37", "#cf222e", "#bc4c00"
_LINES = {"lineStyle": {"color": "#8b949e55"}}
_SCALE = ["#ddf4ff", "#54aeff", "#0969da", "#0a3069"]


def chart(title: str, options: Mapping[str, Any], *, height: str) -> ui.echart:
    """One chart.

    Args:
        title: Its content, for screen readers.
        options: Of ECharts (https://echarts.apache.org/en/option.html).
        height: In CSS.
    """
    shared = {"animation": False, "aria": {"enabled": True, "label": {"description": title}}, "tooltip": {"confine": True}}
    made = ui.echart({**shared, **options}, renderer="svg").classes("w-full").style(f"height: {height}")
    made.props["role"], made.props["aria-label"] = "img", title
    return made


def afterwards(place: ui.element, draw: Callable[[], object], *, height: str) -> None:
    """Draw after the page is displayed: the chart library is half of what the browser loads, and the figures do not need it.

    Args:
        place: Container of the chart.
        draw: Makes the chart.
        height: Reserved for it, so that nothing moves.
    """
    with place:
        kept = ui.element("div").classes("w-full").style(f"min-height: {height}")

    def fill() -> None:
        with kept:
            draw()

    with place:
        ui.timer(0.05, fill, once=True)


def fetch_library() -> None:
    """Let the browser load the chart library in parallel with the rest of the page, before a chart needs it."""
    ui.add_body_html('<script type="module">import("nicegui-echart")</script>')


def bars(
    title: str, names: Sequence[str], series: Mapping[str, tuple[str, Sequence[int]]], *, height: str = "11rem"
) -> ui.echart:
    """A bar for each day, in parts if there are several series.

    Args:
        title: What it shows.
        names: Below the bars.
        series: Name → colour and values.
        height: In CSS.
    """
    options = {
        "grid": {"left": 44, "right": 8, "top": 28 if len(series) > 1 else 12, "bottom": 24},
        "legend": {"show": len(series) > 1, "top": 0},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "category", "data": list(names)},
        "yAxis": {"type": "value", "minInterval": 1, "splitLine": _LINES},
        "series": [
            {"type": "bar", "stack": "all", "name": name, "data": list(values), "color": colour, "barMaxWidth": 48}
            for name, (colour, values) in series.items()
        ],
    }
    return chart(title, options, height=height)


def heat(title: str, columns: Sequence[str], rows: Sequence[str], cells: Sequence[tuple[int, int, int]]) -> ui.echart:
    """A heat map: darker for larger counts.

    Args:
        title: What it shows.
        columns: Below.
        rows: On the left, the first on top.
        cells: Column, row, count.
    """
    options = {
        "grid": {"left": 48, "right": 8, "top": 8, "bottom": 24},
        "xAxis": {"type": "category", "data": list(columns)},
        "yAxis": {"type": "category", "data": list(rows), "inverse": True},
        "visualMap": {
            "min": 0,
            "max": max((count for *_, count in cells), default=1),
            "show": False,
            "inRange": {"color": _SCALE},
        },
        "series": [{"type": "heatmap", "name": title, "data": [list(cell) for cell in cells]}],
    }
    return chart(title, options, height="13rem")


def calendar(title: str, first: str, last: str, days: Sequence[tuple[str, int]], *, language: str) -> ui.echart:
    """A year, a square for each day.

    Args:
        title: What it shows.
        first: `2025-11-25`.
        last: Likewise.
        days: Day, count.
        language: Of the names of days and months.
    """
    names = "ZH" if language == "zh" else "EN"
    options = {
        "calendar": {
            "range": [first, last],
            "left": 44,
            "right": 8,
            "top": 24,
            "bottom": 4,
            "cellSize": ["auto", "auto"],
            "itemStyle": {"color": "transparent", "borderColor": "#8b949e55"},
            "splitLine": {"lineStyle": {"color": "#8b949e"}},
            "dayLabel": {"firstDay": 1, "nameMap": names},
            "monthLabel": {"nameMap": names},
            "yearLabel": {"show": False},
        },
        "visualMap": {"min": 0, "max": max((count for _, count in days), default=1), "show": False, "inRange": {"color": _SCALE}},
        "series": [
            {
                "type": "heatmap",
                "name": title,
                "coordinateSystem": "calendar",
                "data": [[day, count] for day, count in days if count],
            }
        ],
    }
    return chart(title, options, height="10rem")


def timeline(title: str, points: Sequence[tuple[int, int]], *, first: int, last: int) -> ui.echart:
    """Number of packages over time, with a slider whose ends select two moments.

    Args:
        title: What it shows.
        points: Unix time in ms, packages; oldest first.
        first: Number of the point at which the slider starts.
        last: At which it ends.
    """
    options = {
        "grid": {"left": 44, "right": 16, "top": 12, "bottom": 64},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "time"},
        "yAxis": {"type": "value", "minInterval": 1, "scale": True, "splitLine": _LINES},
        "dataZoom": [
            {
                "type": "slider",
                "startValue": points[first][0],
                "endValue": points[last][0],
                "filterMode": "none",
                "bottom": 8,
                "height": 32,
                "showDetail": False,
            }
        ],
        "series": [
            {
                "type": "line",
                "step": "end",
                "name": title,
                "symbolSize": 8,
                "data": [list(point) for point in points],
                "color": BLUE,
            }
        ],
    }
    return chart(title, options, height="14rem")
