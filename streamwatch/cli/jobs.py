"""`streamwatch jobs`: the scans of a store, and what has become of their inputs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from streamwatch.cli import common, running
from streamwatch.cli.listing import Listing
from streamwatch.store.states import ItemState, JobState

if TYPE_CHECKING:
    from streamwatch.store.jobs import ItemRow, JobRow

app = typer.Typer(no_args_is_help=True)

JobArgument = Annotated[int, typer.Argument(metavar="ID", help="The job's id in `jobs list`.")]

_STYLES = {JobState.DONE: "green", JobState.OPEN: "yellow", JobState.CANCELLED: "dim"}


@app.callback()
def jobs() -> None:
    """The scans of a store, and what has become of their inputs."""


@app.command("list")
def list_jobs(
    store: common.StoreOption = None, config: common.ConfigOption = None, as_json: common.JsonOption = False
) -> None:
    """List the jobs, newest first: how many of their inputs are done, failed and waiting."""
    with common.open_store(store, config) as opened:
        found = opened.jobs.jobs()
    if as_json:
        common.print_json_lines(map(_job_line, found))
    elif found:
        common.console().print(_job_table(found[: common.TABLE_ROWS]))
        if len(found) > common.TABLE_ROWS:
            common.note_more(common.TABLE_ROWS)
    else:
        typer.echo("no job: `streamwatch scan` makes one")


@app.command("show")
def show(
    job_id: JobArgument,
    state: Annotated[ItemState | None, typer.Option("--state", help="Only inputs in this state.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Show at most N, in the order of the job.")
    ] = None,
    store: common.StoreOption = None,
    config: common.ConfigOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show a job's inputs in their order, with their verdicts, or why there is none."""
    with common.open_store(store, config) as opened:
        job = opened.jobs.job(job_id)
        found = opened.jobs.items(job_id, state)
        if as_json:
            common.print_json_lines(map(_item_line, itertools.islice(found, limit)))
            return
        rows = limit or common.TABLE_ROWS
        shown = list(itertools.islice(found, rows + 1))
    common.console().print(_job_table([job]))
    common.console().print()
    common.console().print(_item_table(shown[:rows]))
    if limit is None and len(shown) > rows:
        typer.echo(f"the first {rows} are shown; --limit N shows more, --json all", err=True)


@app.command("retry")
def retry(job_id: JobArgument, store: common.StoreOption = None, config: common.ConfigOption = None) -> None:
    """Let the next scan of the same inputs retry failed ones, however often they failed."""
    with common.open_store(store, config, to_write=True) as opened:
        count = opened.jobs.retry(job_id)
    typer.echo(f"job {job_id}: {count} {'input' if count == 1 else 'inputs'} to be retried by the same scan")


@app.command("cancel")
def cancel(job_id: JobArgument, store: common.StoreOption = None, config: common.ConfigOption = None) -> None:
    """Stop the scan that works on a job; its results are kept, and the same scan resumes from there."""
    with common.open_store(store, config, to_write=True) as opened:
        opened.jobs.cancel(job_id)
    typer.echo(f"job {job_id}: cancelled; a scan that works on it ends within seconds")


def _job_line(job: JobRow) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state.value,
        "inputs": job.total,
        **{state.value: job.counts.get(state, 0) for state in ItemState},
        "created_at": job.created_at.isoformat(),
        "heard_at": None if job.heard_at is None else job.heard_at.isoformat(),
        "cancelled_at": None if job.cancelled_at is None else job.cancelled_at.isoformat(),
        "model": {"name": job.model.name, "sha256": job.model.sha256},
        "config_sha256": job.config_sha256,
    }


def _item_line(item: ItemRow) -> dict[str, Any]:
    return {
        "number": item.number,
        "source": item.source,
        "metadata": dict(item.metadata),
        "state": item.state.value,
        "attempts": item.attempts,
        "error": None if item.failure is None else {"kind": item.failure.kind, "message": item.failure.message},
        "sha256": item.sha256,
        "label": None if item.label is None else item.label.value,
        "score": item.score,
    }


def _job_table(found: list[JobRow]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "inputs", *(state.value for state in ItemState)):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("state", "begun (UTC)", "model"):
        table.add_column(name, no_wrap=True)
    for job in found:
        counts = (str(job.counts.get(state, 0)) for state in ItemState)
        state = Text(job.state.value, style=_STYLES[job.state])
        table.add_row(str(job.id), str(job.total), *counts, state, common.instant(job.created_at), job.model.name)
    return table


def _item_table(found: list[ItemRow]) -> Listing:
    table = Listing("source", ("", "state", "label", "score"), at=1, right={"", "score"})
    for item in found:
        remarks = []
        if item.metadata:
            remarks.append(", ".join(f"{name}: {value}" for name, value in item.metadata.items()))
        if item.failure is not None:
            remarks.append(f"{item.failure.kind}: {item.failure.message}")
        label = Text("–") if item.label is None else Text(item.label.value, style=running.STYLES[item.label])
        cells = (str(item.number), item.state.value, label, running.score(item.score))
        table.add(common.plain(item.source), cells, list(map(common.plain, remarks)))
    return table
