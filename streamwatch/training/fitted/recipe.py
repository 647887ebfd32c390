"""The recipe of a detector that is fitted at once: everything that decides what comes of it, in one YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from streamwatch.errors import ConfigError
from streamwatch.faces.crops import CropGeometry
from streamwatch.training.data import Kind
from streamwatch.training.recipe_files import find_recipe, read_recipe
from streamwatch.validation import dotted, problems


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PairsPart(_Part):
    """Pairs of a real and a forged face beside the pictures of the set: drawn from it, or forged from its real ones."""

    count: int = Field(0, ge=0, description="pairs as they are")
    share: float = Field(0.25, gt=0, lt=1, description="of the weight of each class, where there are any")
    degraded: int = Field(0, ge=0, description="pairs degraded as in training, both faces alike")
    degraded_share: float = Field(0.2, gt=0, lt=1, description="of the weight of each class, where there are any")
    of_clips: float = Field(0.25, ge=0, lt=1, description="share of forged pairs that come from the camera clips")
    kinds: dict[Kind, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _shares(self) -> PairsPart:
        if (self.count or self.degraded) and not any(weight > 0 for weight in self.kinds.values()):
            raise ValueError("kinds: needs a weight above 0 for one kind of pair")
        if self.share + self.degraded_share >= 1:
            raise ValueError("share and degraded_share must leave something to the pictures themselves")
        return self


class FittedDataPart(_Part):
    root: Path = Path()
    train: str = Field("web_faces", description="folder of pictures with an index.csv, of the kind `web`")
    choose: str = Field("web_dev", description="another one, which calibrates and is reported; never fitted to")
    pairs: PairsPart = PairsPart()
    clips: Path | None = Field(None, description="folder of camera clips, for more faces to forge")
    method_power: float = Field(0.5, ge=0, le=1, description="weight of a method: this power of its number")
    most_of_one_origin: float = Field(0.15, gt=0, le=1, description="share of a class that one repository may have")


class FittedGeometryPart(_Part):
    scale: float = Field(1.8, gt=0)
    size: int = Field(256, ge=96)

    def geometry(self) -> CropGeometry:
        return CropGeometry(self.scale)


class LinearPart(_Part):
    strength: float = Field(0.01, gt=0, description="inverse of the L2 penalty")
    share: float = Field(0.5, ge=0, description="of its logit in the joint one, beside trees")


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


class FittedRecipe(_Part):
    """What the recipes of detectors that are fitted at once, not trained step by step, have in common."""

    name: str
    licence: str
    seed: int = 0
    data: FittedDataPart = FittedDataPart()
    geometry: FittedGeometryPart = FittedGeometryPart()
    linear: LinearPart = LinearPart()
    decision: DecisionPart = DecisionPart()


class StatisticsRecipe(FittedRecipe):
    """See `recipes/statistics.yaml`."""

    kind: Literal["statistics"]
    trees: TreesPart = TreesPart()


class TextureRecipe(FittedRecipe):
    """See `recipes/texture.yaml`."""

    kind: Literal["texture"]
    preset: str = Field("texture", description="a network with `levels`; its backbone keeps its ImageNet weights")


_RECIPE: TypeAdapter[StatisticsRecipe | TextureRecipe] = TypeAdapter(
    Annotated[StatisticsRecipe | TextureRecipe, Field(discriminator="kind")]
)


def is_fitted_recipe(recipe: str | Path) -> bool:
    """Whether a YAML file, or a recipe that ships, names a `kind`; False where it cannot be read."""
    try:
        return "kind" in read_recipe(find_recipe(recipe))
    except ConfigError:
        return False  # `load_recipe` says what is wrong with it


def load_fitted_recipe(recipe: str | Path) -> StatisticsRecipe | TextureRecipe:
    """A path to a YAML file, or the name of a recipe that ships. Raises ConfigError naming the file and key."""
    path = find_recipe(recipe)
    try:
        return _RECIPE.validate_python(read_recipe(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {problems(error, _key)}") from None


def _key(loc: Sequence[int | str]) -> str:
    """The key that an error is about, without the kind of recipe, which pydantic puts first."""
    return dotted(loc[1:]) or "kind"
