"""The command `streamwatch`: every noun in its place, and errors as one line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from streamwatch.cli import (
    alerts,
    bench,
    common,
    config,
    db,
    demo,
    doctor,
    evaluate,
    forgeries,
    jobs,
    models,
    quality,
    report,
    scan,
    streams,
    studies,
    train,
    verdicts,
    watch,
)
from streamwatch.config import LogLevel
from streamwatch.distribution import __version__
from streamwatch.doctor import library_missing, needs_opencv
from streamwatch.errors import StreamwatchError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="streamwatch",
    help="Watches video streams and archives for manipulated faces.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamwatch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
    log_level: LogLevel | None = typer.Option(None, "--log-level", help="Lowest severity that is logged to stderr."),
    log_json: bool = typer.Option(False, "--log-json", help="Log one JSON object per line."),
) -> None:
    """Watches video streams and archives for manipulated faces."""
    context.with_resource(common.log_options(log_level, as_json=log_json))


app.command("demo")(needs_opencv(demo.demo))
app.command("scan")(needs_opencv(scan.scan))
app.command("report")(needs_opencv(report.report))
app.command("watch")(needs_opencv(watch.watch))
app.command("train")(needs_opencv(train.train))
app.add_typer(alerts.app, name="alerts", help="List, show, review and export alerts.")
app.add_typer(verdicts.app, name="verdicts", help="List and export the verdicts on sources.")
app.add_typer(jobs.app, name="jobs", help="Scans in the store, with the state of their inputs.")
app.add_typer(streams.app, name="streams", help="Watched streams: list, add, remove, pause, resume.")
app.add_typer(models.app, name="models", help="Forgery and face detectors: list, show, import.")
app.add_typer(config.app, name="config", help="Check settings, or print their schema.")
app.add_typer(db.app, name="db", help="The store: schema, retention, maintenance, backups.")
evaluate.app.command("quality")(needs_opencv(quality.quality))
evaluate.app.command("fusion")(needs_opencv(studies.fusion))
evaluate.app.command("scale")(needs_opencv(studies.scale))
evaluate.app.command("forgeries")(needs_opencv(forgeries.forgeries))
app.add_typer(evaluate.app, name="evaluate", help="Measure detectors on labelled data, and data sets.")
app.add_typer(bench.app, name="bench", help="Measure speed on this machine.")
app.command("doctor")(doctor.doctor)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process: 0 done, 1 some input failed or an unexpected error, 2 bad usage,
    130 interrupted.
    """
    try:
        app(args=arguments)
    except StreamwatchError as error:
        logger.debug("the command ended with an error", exc_info=True)
        _end(str(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if isinstance(error, ImportError) and "cannot open shared object file" in str(error):
            _end(str(library_missing(error)))
        logger.critical("unexpected error", exc_info=True)
        sys.exit(EXIT_FAILED)
    sys.exit(0)


def _end(message: str) -> NoReturn:
    print(f"streamwatch: {common.plain(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(EXIT_USAGE)
