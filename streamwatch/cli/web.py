"""How an evaluation on web clips is printed: within 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from streamwatch.cli import common

if TYPE_CHECKING:
    from streamwatch.evaluation.clips import Comparison, Estimate, Facts, MethodFigures, PairFigures
    from streamwatch.evaluation.nuisances import Probe
    from streamwatch.evaluation.web import WebReport

FACELESS_SHOWN = 5
METHOD_WIDTH = 34


def print_report(report: WebReport) -> None:
    """On standard output."""
    console = common.console()
    found = report.figures
    console.print(
        f"{report.models} on web {report.split}: {found.clips} clips of {found.scenes} scenes, {found.pictures} faces"
    )
    own = f"crop {report.geometry.scale:g} × face, {report.input_size} px"
    if report.joined is None:
        console.print(f"{own}; intervals: 95 % over scenes")
    else:
        other = report.joined
        console.print(f"{report.model}: {own}")
        console.print(f"{other.model}: crop {other.geometry.scale:g} × face, {other.input_size} px")
        console.print("score: mean of both calibrated logits, no threshold; intervals: 95 % over scenes")
    if report.faceless:
        counts = ", ".join(f"{count} {label}" for label, count in report.without_face.items())
        names = ", ".join(map(common.plain, report.faceless[:FACELESS_SHOWN]))
        more = ", …" if len(report.faceless) > FACELESS_SHOWN else ""
        console.print(f"pictures without a face: {len(report.faceless)} of {report.pictures} ({counts}): {names}{more}")
    console.print()
    console.print(_figure_table(report))
    console.print()
    console.print(_method_table(found.methods))
    console.print(f"mean over methods {estimate(found.over_methods)}, worst quarter {estimate(found.worst_quarter)}")
    if found.called_fake is not None and report.threshold is not None:
        real, fake = found.called_fake
        console.print(f"\ncalled fake (from {report.threshold:.3f}): {real:.1%} of honest, {fake:.1%} of forged clips")
    _print_enhanced(report)
    if report.masks is not None:
        area = "–" if report.masks.pixel_auc is None else f"{report.masks.pixel_auc:.3f}"
        console.print(
            f"masks of {report.masks.faces} aligned fakes: IoU {report.masks.iou:.3f} at "
            f"{report.masks.threshold:g}, pixel AUC {area}"
        )
    facts = report.facts
    console.print(f"file facts alone: AUC over faces {_auc(facts.file)}")
    console.print(f"  with sharpness and noise: {_auc(facts.picture)}")
    if facts.pairs is not None and facts.pairs.won is not None:
        console.print(
            f"  which pick the fake in {estimate(facts.pairs.won)} of {facts.pairs.samples // 2} aligned pairs"
        )
    if report.speed is not None:
        console.print(f"{report.speed.faces_per_second:.1f} faces/s on {report.speed.device}")


def estimate(found: Estimate) -> str:
    """`0.676 [0.62, 0.73]`."""
    interval = "" if found.interval is None else f" [{found.interval[0]:.2f}, {found.interval[1]:.2f}]"
    return f"{found.value:.3f}{interval}"


def _auc(found: Probe | None) -> str:
    return "– (too few scenes)" if found is None else estimate(found.auc)


def _print_enhanced(report: WebReport) -> None:
    enhanced = report.figures.enhanced
    if enhanced is None:
        return
    console = common.console()
    called = "" if enhanced.called_fake is None else f"{enhanced.called_fake:.0%} called fake, "
    console.print(
        f"enhanced, of neither class: {enhanced.clips} clips, mean logit {enhanced.mean_logit:.2f}; {called}"
        f"{enhanced.above_5_percent:.0%} above the score that 5 % of honest clips exceed"
    )
    if enhanced.above_original is not None:
        console.print(
            f"  of {enhanced.pairs} with their original: logit {enhanced.mean_logit_paired:.2f} against "
            f"{enhanced.mean_logit_originals:.2f}, {enhanced.above_original:.0%} above it"
        )


def _figure_table(report: WebReport) -> Table:
    found = report.figures
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for name in ("as they are", "matched in size and rate"):
        table.add_column(name, justify="right", no_wrap=True)
    _add_comparison(table, f"all: {found.whole.real} honest, {found.whole.fake} forged clips", found.whole)
    if found.pairs is not None:
        _add_pairs(table, "pairs", found.pairs)
    if found.swaps is not None:
        _add_comparison(table, f"swaps alone: {found.swaps.fake} clips", found.swaps)
    if found.swap_pairs is not None:
        _add_pairs(table, "pairs of swaps", found.swap_pairs)
    return table


def _add_comparison(table: Table, title: str, found: Comparison) -> None:
    table.add_row(title, "", f"worth {found.effective_real:.0f}, {found.effective_fake:.0f}", style="bold")
    for name, figure in _FIGURES.items():
        table.add_row(f"  {name}", estimate(getattr(found.plain, figure)), estimate(getattr(found.matched, figure)))
    table.add_row("  AUC of face size, of bytes alone", _facts(found.facts), _facts(found.facts_matched), style="dim")


def _add_pairs(table: Table, title: str, found: PairFigures) -> None:
    table.add_row(f"{title}: {found.pairs} in {found.scenes} scenes", "", f"worth {found.effective:.0f}", style="bold")
    table.add_row("  fakes above their original", estimate(found.won), estimate(found.won_matched))
    table.add_row("  AUC over clips of these scenes", estimate(found.auc), estimate(found.auc_matched))
    table.add_row("  won by face size, by bytes alone", _facts(found.facts), "", style="dim")


def _facts(found: Facts) -> str:
    return f"{found.side:.2f}, {found.bytes_per_pixel:.2f}"


_FIGURES = {
    "AUC over clips": "auc",
    "AUC over faces": "auc_faces",
    "found at 1 % false alarms": "tpr_at_1_percent_fpr",
    "found at 5 % false alarms": "tpr_at_5_percent_fpr",
}


def _method_table(methods: tuple[MethodFigures, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method, the worst first", no_wrap=True, max_width=METHOD_WIDTH, overflow="ellipsis")
    table.add_column("swap", no_wrap=True)
    for name in ("clips", "AUC [95 %]", "pairs", "won"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in methods:
        won = "–" if row.won is None else f"{row.won:.2f}"
        swap = "swap" if row.swap else ""
        table.add_row(common.plain(row.method), swap, str(row.clips), estimate(row.auc), str(row.pairs), won)
    return table
