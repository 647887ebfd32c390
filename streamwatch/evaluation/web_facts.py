"""What facts of the pictures and files of a set of web clips reach alone, without a look at a face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamwatch.evaluation import nuisances
from streamwatch.evaluation.datasets.web import WebPicture, originals
from streamwatch.evaluation.nuisances import Probe
from streamwatch.sources.pictures import read_image


@dataclass(frozen=True, slots=True)
class FactFigures:
    """What facts alone reach, over pictures: those of the file; these with sharpness and noise; the latter on aligned
    pairs. None where there are too few scenes, or no such pairs.
    """

    file: Probe | None
    picture: Probe | None
    pairs: Probe | None


def facts_alone(
    pictures: Sequence[WebPicture], progress: Callable[[int, int], None] = lambda done, total: None
) -> FactFigures:
    """How far facts of pictures and files separate the two classes, groups being scenes; `enhanced` is left out.

    progress: pictures done, pictures in all. Raises SourceNotFound for a file that is no picture.
    """
    pictures = [picture for picture in pictures if picture.label != "enhanced"]
    table = np.empty((len(pictures), len(_NAMES)))
    for index, picture in enumerate(pictures):
        table[index] = *nuisances.image_facts(read_image(picture.path)), *nuisances.file_facts(picture.path)
        progress(index + 1, len(pictures))
    place = {picture.path: index for index, picture in enumerate(pictures)}
    known = originals(pictures).items()
    forged = np.array([place[path] for path, _ in known], np.intp)
    honest = np.array([place[real[0]] for _, real in known], np.intp)
    fake = np.array([picture.fake for picture in pictures])

    def probed(rows: NDArray[np.intp], columns: Sequence[int], *, paired: bool = False) -> Probe | None:
        groups, names = [pictures[row].scene for row in rows], [_NAMES[column] for column in columns]
        try:
            return nuisances.probe(table[rows][:, list(columns)], fake[rows], groups, names, paired=paired)
        except ValueError:  # too few scenes
            return None

    everything = range(len(_NAMES))
    return FactFigures(
        file=probed(np.arange(len(pictures)), _OF_FILE),
        picture=probed(np.arange(len(pictures)), everything),
        pairs=probed(np.concatenate([honest, forged]), everything, paired=True),
    )


_NAMES = (*nuisances.IMAGE_FACTS, *nuisances.FILE_FACTS)
_OF_FILE = [index for index, name in enumerate(_NAMES) if name not in ("sharpness", "noise")]
