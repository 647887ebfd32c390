"""The recipe of a statistics detector: everything that decides what its training gives, in one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamwatch.errors import ConfigError
from streamwatch.faces.crops import CropGeometry
from streamwatch.training.families import Family
from streamwatch.training.recipe import RECIPES


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MadePart(_Part):
    """Forgeries made from the real pictures, each with the picture that it was made from."""

    pairs: int = Field(0, ge=0, description="0: none")
    share: float = Field(0.25, gt=0, lt=1, description="of the weight of each class")
    of_clips: float = Field(0.25, ge=0, lt=1, description="share of pairs that come from the camera clips")
    kinds: dict[Family, float] = Field(default_factory=lambda: dict(_KINDS), min_length=1)


_KINDS: dict[Family, float] = {
    "whole_face": 0.06,
    "hull": 0.07,
    "region": 0.05,
    "swap": 0.12,
    "reenactment": 0.04,
    "resynthesis": 0.06,
    "upsampling": 0.03,
}


class DataPart(_Part):
    root: Path = Path()
    train: str = Field("web_faces", description="folder of pictures with an index.csv, of the kind `web`")
    choose: str = Field("web_dev", description="another one, which calibrates and is reported; never fitted to")
    made: MadePart = MadePart()
    clips: Path | None = Field(None, description="folder of camera clips, for more faces to forge")
    method_power: float = Field(0.5, ge=0, le=1, description="weight of a method: this power of its number")
    most_of_one_origin: float = Field(0.15, gt=0, le=1, description="share of a class that one repository may have")


class GeometryPart(_Part):
    scale: float = Field(1.8, gt=0)
    size: int = Field(256, ge=96)

    def geometry(self) -> CropGeometry:
        return CropGeometry(self.scale)


class LinearPart(_Part):
    strength: float = Field(0.01, gt=0, description="inverse of the L2 penalty")
    share: float = Field(0.5, ge=0, description="of its logit in the joint one")


class TreesPart(_Part):
    boosters: int = Field(
        1, ge=1, description="fits with seeds of their own, whose mean counts: less chance in the result"
    )
    number: int = Field(150, ge=1, description="trees of each")
    depth: int = Field(4, ge=1, le=16)
    learning_rate: float = Field(0.08, gt=0)
    subsample: float = Field(0.5, gt=0, le=1)
    columns: float = Field(0.15, gt=0, le=1, description="share of the statistics that each decision may choose from")
    least_leaf: int = Field(30, ge=1)
    share: float = Field(0.5, ge=0, description="of their logit in the joint one")


class DecisionPart(_Part):
    false_alarms: float = Field(0.02, gt=0, lt=1, description="share of real clips above the `fake` threshold")
    misses: float = Field(0.1, gt=0, lt=1, description="share of fake clips at or below the `real` threshold")
    min_face_side: float = Field(64.0, ge=0, description="shorter side of a face box, pixels, for the card's limits")


class StatisticsRecipe(_Part):
    """See `recipes/statistics.yaml`."""

    kind: Literal["statistics"]
    name: str
    licence: str
    seed: int = 0
    data: DataPart = DataPart()
    geometry: GeometryPart = GeometryPart()
    linear: LinearPart = LinearPart()
    trees: TreesPart = TreesPart()
    decision: DecisionPart = DecisionPart()


def is_statistics_recipe(recipe: str | Path) -> bool:
    """Whether a YAML file, or a recipe that ships, says `kind: statistics`; False where there is no such file."""
    path = _path(recipe)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # `load_recipe` says what is wrong with it
    return isinstance(values, dict) and values.get("kind") == "statistics"


def load_statistics_recipe(recipe: str | Path) -> StatisticsRecipe:
    """A path to a YAML file, or the name of a recipe that ships. Raises ConfigError naming the file and key."""
    path = _path(recipe)
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return StatisticsRecipe.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"{path}: {problems}") from None


def _path(recipe: str | Path) -> Path:
    path = Path(recipe)
    return path if path.is_file() else RECIPES / f"{path.stem}.yaml"
