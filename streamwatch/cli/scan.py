"""`streamwatch scan`: analyse files."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from streamwatch.cli import common, running
from streamwatch.cli.listing import Listing
from streamwatch.errors import JobCancelled
from streamwatch.files import open_private
from streamwatch.records import Failure, Label, VideoVerdict

if TYPE_CHECKING:
    from streamwatch.archive.scan import ScanProgress
    from streamwatch.pipeline.analyser import Analysis

INPUT_FAILED = 1
SPANS_SHOWN = 3


def scan(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Files, directories, globs, http(s) and s3 URLs; - reads a list from standard input.",
        ),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            "--manifest",
            metavar="FILE|URL",
            help="Text with one input per line, CSV, JSON Lines or Parquet; see docs/archive.md.",
        ),
    ] = None,
    pipeline: running.PipelineOption = "archive",
    config: common.ConfigOption = None,
    store: common.StoreOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", parser=common.parse_file, help="Also write verdicts as JSON Lines."),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option("--annotate", metavar="DIR", help="Write annotated clips; scans all inputs again."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Files at once; default: one per core.")
    ] = None,
    device: running.DeviceOption = None,
    address: running.AddressOption = None,
    model: running.ModelOption = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Reuse results in the store.")] = True,
    triage: Annotated[
        bool | None,
        typer.Option(
            "--triage/--no-triage", help="Analyse key frames first, and all frames only where those leave doubt."
        ),
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Analyse files. Exit status 1 where some could not be analysed, or not drawn.

    Verdicts are stored as they come; an interrupted scan resumes where it stopped.
    """
    from streamwatch.archive.scan import iter_scan
    from streamwatch.sources import read_inputs

    if not paths and manifest is None:
        raise typer.BadParameter("give PATH... or --manifest FILE", param_hint="PATH...")
    settings = running.settings(
        config,
        pipeline,
        store=store,
        model=model,
        device=device,
        address=address,
        workers=workers,
        triage=triage,
    )
    if annotate is not None and settings.sampling.triage:
        raise typer.BadParameter("annotated clips show a full look: give --no-triage", param_hint="--annotate")
    inputs = read_inputs(paths or [], manifest)
    rows: list[Row] = []
    undrawn = 0
    stopped = ""
    with running.stoppable() as check, _lines_to(output) as lines, ScanBar(len(inputs), check) as bar:
        results = iter_scan(inputs, settings, progress=bar.update, resume=resume, annotate=annotate)
        try:
            with contextlib.closing(results):
                for analysis in results:
                    verdict = analysis.verdict
                    rows.append(Row.of(verdict))
                    _write(analysis, lines, as_json)
                    if isinstance(analysis.clip, Failure):
                        undrawn += 1
                        bar.note(f"no clip: {analysis.clip.message}")
                    elif analysis.clip is not None:
                        bar.note(f"{verdict.source}: see {analysis.clip}")
        except KeyboardInterrupt:
            stopped = "stopped"
        except JobCancelled:
            stopped = "cancelled"
    if not as_json:
        _print(rows)
    if stopped:
        typer.echo(f"{stopped}: {len(rows)} of {len(inputs)} done; the same command goes on from here", err=True)
        raise typer.Exit(running.INTERRUPTED)
    failed = sum(row.label is Label.ERROR for row in rows)
    if failed and bar.job is not None:
        typer.echo(f"{failed} failed: `streamwatch jobs show {bar.job} --state failed` lists them", err=True)
    if failed or undrawn:
        raise typer.Exit(INPUT_FAILED)


class ScanBar:
    """Progress on standard error, where that is a terminal. check: called at every update, may raise. job: of the scan,
    once it is known.
    """

    def __init__(self, total: int, check: Callable[[], None]) -> None:
        self._check = check
        self._console = Console(stderr=True)
        columns = (
            TextColumn("scanning"),
            BarColumn(),
            TextColumn("{task.completed:.1f}/{task.total:.0f} files"),
            _Rate(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        )
        self._task = self._progress.add_task("", total=total)
        self.job: int | None = None

    def __enter__(self) -> ScanBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, state: ScanProgress) -> None:
        self._check()
        self.job = state.job
        self._progress.update(self._task, completed=state.done)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(Text(common.plain(text)))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Files per minute."""
        return Text(f"{task.speed * 60:.1f}/min" if task.speed else "–/min", style="progress.data.speed")


@contextlib.contextmanager
def _lines_to(output: Path | None) -> Iterator[TextIO | None]:
    if output is None:
        yield None
        return
    with common.writing_to("--output", output):
        stream = io.TextIOWrapper(open_private(output), encoding="utf-8")
    with stream:
        yield stream


def _write(analysis: Analysis, lines: TextIO | None, as_json: bool) -> None:
    from streamwatch.formats.jsonl import verdict_line

    metadata = {"metadata": dict(analysis.metadata)} if analysis.metadata else {}
    line = json.dumps({**verdict_line(analysis.verdict), **metadata}) + "\n"
    for stream in (lines, sys.stdout if as_json else None):
        if stream is not None:
            stream.write(line)
            stream.flush()


@dataclass(frozen=True, slots=True)
class Row:
    """One verdict in the table."""

    source: str
    why: str
    label: Label
    score: float | None
    length: str
    spans: str

    @classmethod
    def of(cls, verdict: VideoVerdict) -> Row:
        length = "–" if verdict.duration is None else common.media_time(verdict.duration)
        spans = sorted(verdict.alerts, key=lambda alert: alert.start)
        shown = [f"{common.media_time(a.start)}–{common.media_time(a.end)}" for a in spans[:SPANS_SHOWN]]
        more = [f"+{len(spans) - SPANS_SHOWN}"] if len(spans) > SPANS_SHOWN else []
        why = "" if verdict.label is Label.FAKE else verdict.reason  # of a fake, the spans say it
        if verdict.failure is not None:
            why = f"{verdict.failure.kind}: {verdict.failure.message}"
        return cls(verdict.source, why, verdict.label, verdict.score, length, ", ".join(shown + more))

    @property
    def rank(self) -> tuple[int, float, str]:
        """What a person should see first comes first."""
        order = (Label.FAKE, Label.INCONCLUSIVE, Label.ERROR, Label.NO_FACE, Label.REAL)
        return (order.index(self.label), -(self.score or 0.0), self.source)


def _print(rows: list[Row]) -> None:
    if not rows:
        return
    table = Listing("source", ("label", "score", "length", "looked forged"), right={"score", "length"})
    ordered = sorted(rows, key=lambda row: row.rank)
    for row in ordered[: common.TABLE_ROWS]:
        label = Text(str(row.label), style=running.STYLES[row.label])
        table.add(
            common.plain(row.source), (label, running.score(row.score), row.length, row.spans), [common.plain(row.why)]
        )
    common.console().print(table)
    counts = Counter(row.label for row in rows)
    said = ", ".join(f"{counts[label]} {label}" for label in Label if counts[label])
    common.console().print(f"{len(rows)} {'source' if len(rows) == 1 else 'sources'}: {said}")
    if len(rows) > common.TABLE_ROWS:
        typer.echo(f"the first {common.TABLE_ROWS} are shown; `streamwatch verdicts list` has all", err=True)
