"""How the figures of an evaluation are written in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamwatch.evaluation.levels import Level, LevelSeparation


def auc(separation: LevelSeparation) -> str:
    """An AUC with its interval, where there is one."""
    interval = separation.auc_interval
    return f"{separation.auc:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def calls(level: Level | None) -> list[str]:
    """Shares of one level: real called fake, fake called fake, fake called real."""
    real, fake = (None, None) if level is None else (level.real, level.fake)
    rates = (
        None if real is None else real.called_fake,
        None if fake is None else fake.called_fake,
        None if fake is None else fake.called_real,
    )
    return ["–" if rate is None else f"{rate.value:.3f}" for rate in rates]
