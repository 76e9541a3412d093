"""A report as one self-contained HTML file, to print, mail and archive."""

from __future__ import annotations

from pathlib import Path

from envtrail.errors import CannotRunError
from envtrail.model.text import safe
from envtrail.model.times import show_ms
from envtrail.report.content import Report
from envtrail.report.sections import Translate, make_sections

_TEMPLATE = Path(__file__).parent / "report.html"


def render_html(report: Report, translate: Translate, language: str) -> str:
    """The document.

    Raises:
        CannotRunError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise CannotRunError(
            "Jinja2, which renders the document, is not installed", hint="pip install 'envtrail[report]'"
        ) from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["safe_text"] = safe
    _ = translate
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        language={"zh": "zh-Hans"}.get(language, language),
        title=_("Changes to the Python environments"),
        period=_("{since} to {until}").format(since=show_ms(report.since_ms), until=show_ms(report.until_ms)),
        hosts=_("Machines: {hosts}").format(hosts=", ".join(report.hosts) or "–"),
        about=_("Environment: {environment}").format(environment=report.environment) if report.environment else "",
        made=_("Made by Envtrail {version} on {time}").format(version=report.version, time=show_ms(report.made_ms)),
        contents=_("Contents"),
        sections=make_sections(report, translate),
    )
