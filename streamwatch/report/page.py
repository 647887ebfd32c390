"""Writes the page: one HTML file that needs nothing else."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import jinja2

from streamwatch.errors import ConfigError
from streamwatch.files import replacing
from streamwatch.report import words
from streamwatch.report.faces import galleries
from streamwatch.report.plot import by_strength, draw, styles
from streamwatch.report.subject import VideoReport
from streamwatch.sources import Location
from streamwatch.times import instant, media_time

MARK = '<meta name="generator" content="streamwatch report">'
"""By this, near its beginning, a page is known that may be written over."""

_WIDE, _NARROW = 1000.0, 400.0
"""Widths of the two drawings of the plot, pixels: the style sheet shows the one that fits the screen."""


def render(report: VideoReport) -> str:
    """The page as text. Raises StoreError where a stored picture is damaged."""
    verdict = report.verdict
    source = Location(verdict.source)
    plots = [draw(verdict, report.policy, width) for width in (_WIDE, _NARROW)]
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            verdict=verdict,
            name=source.name if source.is_url else source.path.name,
            tracks=by_strength(verdict.tracks),
            styles=styles(verdict.tracks),
            alerts=sorted(verdict.alerts, key=lambda alert: (alert.start, alert.id)),
            galleries=galleries(verdict, report.settings.decode, report.reasoner),
            plots=[plot for plot in plots if plot is not None],
            words=words,
            mark=MARK,
        )
    )


def check_replaceable(path: Path) -> None:
    """Raise ConfigError where no page can go: no folder, or something other than an earlier page at `path`."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no such folder", "make it, or name another place with --html")
    if path.exists() and not (path.is_file() and _is_page(path)):
        raise ConfigError(f"{path}: exists and is no page of `streamwatch report`", "name another place with --html")


def write_page(report: VideoReport, path: Path) -> None:
    """Write the page to `path`, whole or not at all, in place of an earlier page.

    Raises what `check_replaceable` raises, StoreError for a damaged picture, OSError if writing fails.
    """
    check_replaceable(path)
    text = render(report)
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="replace")


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(1024)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("streamwatch.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(media_time=media_time, instant=instant, percent=words.percent)
    return environment
