"""A recipe: everything that decides what a training run gives, in one YAML file."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from streamwatch.detectors.m2tr.config import M2TRConfig, resolve
from streamwatch.errors import ConfigError
from streamwatch.faces.crops import CropGeometry
from streamwatch.training.data import PAIRED_ZOOM, Kind, Zoom
from streamwatch.training.losses import Classification
from streamwatch.training.recipe_files import find_recipe, read_recipe
from streamwatch.validation import problems

Freeze = Annotated[int, Field(ge=0)] | Literal["backbone"]
"""How many leading backbone blocks (with the stem) keep the weights they start with; `backbone`: all of it, with the
classifier that reads its levels, so that M2TR layers, their own classifier and the decoder alone are trained.
"""

_ARCHITECTURE = TypeAdapter(M2TRConfig)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourcePart(_Part):
    weight: float = Field(1.0, gt=0)
    zoom: tuple[float, float] = (0.84, 1.08)


class DataPart(_Part):
    root: Path
    paired: tuple[str, ...] = ()
    sources: dict[str, SourcePart]
    clips: Path | None = None
    web_clips: Path | None = Field(None, description="whole web clips; faces of them become the set `web_clips`")
    generated: tuple[str, ...] = ()
    web: tuple[str, ...] = Field((), description="sets of web clips to train on")
    dev: tuple[str, ...] = Field((), description="sets of web clips that choose the checkpoint, never trained on")
    weights: dict[Kind, float]
    paired_zoom: Zoom = Field(PAIRED_ZOOM, description="side of a crop of `paired` pictures, in sides of the served")
    untouched: float = Field(0.2, ge=0, le=1, description="share of pairs that no degradation is applied to")
    mix_amplitudes: float = Field(0.0, ge=0, le=1, description="share of pairs whose spectrum takes on another's look")
    reuse: int = Field(1, ge=1, description="items that are cut from every made pair")
    reuse_lag: int = Field(500, ge=1, description="pairs between one use of a made pair and the next")
    qualities: int = Field(1, ge=1, le=4, description="copies of every face, each at a quality of its own")
    scene_pairs: int = Field(1, ge=1, description="pairs in a row of one kind and, of web clips, of one scene")
    held_back: float = Field(0.06, gt=0, lt=0.5)


class GeometryPart(_Part):
    scale: float = Field(1.3, gt=0)
    center_x: float = 0.5
    center_y: float = 0.5

    def geometry(self) -> CropGeometry:
        return CropGeometry(self.scale, self.center_x, self.center_y)


class OptimisationPart(_Part):
    steps: int = Field(ge=1)
    pairs: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    ema: float = Field(0.998, ge=0, lt=1)
    freeze: Freeze = 0
    freeze_norm: bool = Field(False, description="batch norms keep the statistics they start with")
    precision: Literal["fp32", "bf16"] = "fp32"
    mix_styles: float = Field(0.0, ge=0, le=1, description="share of batches whose early maps swap their statistics")
    perturbation: float = Field(0.0, ge=0, description="adversarial weight perturbation γ; 0: none")
    workers: int = Field(2, ge=0)


class LossPart(_Part):
    classification: Classification = "cross_entropy"
    quality: float = Field(0.1, ge=0)
    mask: float = Field(1.0, ge=0)
    contrastive: float = Field(0.001, ge=0)
    ranking: float = Field(0.0, ge=0, description="the fake of a pair above its own original")


class EvaluationPart(_Part):
    every: int = Field(250, ge=1)
    forgeries: int = Field(40, ge=8, description="held-back pairs of each family")
    limit: int | None = Field(None, ge=8, description="most held-back pictures per class; null: all")
    false_alarms: float = Field(0.02, gt=0, lt=1, description="share of real faces above the `fake` threshold")


class Recipe(_Part):
    name: str
    preset: str
    switches: dict[str, Any] = Field(default_factory=dict, description="fields of the preset's M2TRConfig to replace")
    licence: str = Field(
        "not stated by the recipe: the terms of the data that it was trained on apply", description="for the model card"
    )
    seed: int = 0
    start: Path | None = Field(None, description="weights to start from, safetensors; null: ImageNet's")
    data: DataPart
    geometry: GeometryPart = GeometryPart()
    optimisation: OptimisationPart
    loss: LossPart = LossPart()
    evaluation: EvaluationPart = EvaluationPart()

    @model_validator(mode="after")
    def _enough_faces_to_tie(self) -> Recipe:
        if self.data.qualities > 1 and self.loss.quality > 0 and self.optimisation.pairs < 2:
            raise ValueError(
                "loss.quality ties no fewer than 2 optimisation.pairs across data.qualities; 0 turns it off"
            )
        return self

    @property
    def architecture(self) -> M2TRConfig:
        """The preset with its switches; `face_share` follows from the geometry where the network has levels.

        Raises ConfigError for a switch or value that it does not have.
        """
        known = [field.name for field in fields(M2TRConfig)]
        wrong = [name for name in self.switches if name not in known]
        if wrong:
            raise ConfigError(f"recipe {self.name}: switches: no {', '.join(wrong)}", f"there are {', '.join(known)}")
        try:
            preset = asdict(resolve(self.preset))
            if preset["levels"]:
                preset["face_share"] = 1 / self.geometry.scale
            return _ARCHITECTURE.validate_python({**preset, **self.switches})
        except ValidationError as error:
            raise ConfigError(f"recipe {self.name}: switches: {problems(error)}") from None


def load_recipe(recipe: str | Path) -> Recipe:
    """A path to a YAML file, or the name of a recipe that ships (`m2tr-lite`, `recipes/m2tr-lite.yaml`).

    A file may name another as its `base` (beside it, or one that ships) and then only what differs.
    Raises ConfigError naming the file and key.
    """
    path = find_recipe(recipe)
    try:
        return Recipe.model_validate(read_recipe(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {problems(error)}") from None


def with_root(recipe: Recipe, root: Path | None) -> Recipe:
    """The recipe with its data under another folder."""
    return recipe if root is None else recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": root})})


def with_start(recipe: Recipe, start: Path | None) -> Recipe:
    """The recipe going on from other weights."""
    return recipe if start is None else recipe.model_copy(update={"start": start})


def with_steps(recipe: Recipe, steps: int | None) -> Recipe:
    """The recipe with another number of steps (and so another schedule)."""
    if steps is None:
        return recipe
    return recipe.model_copy(update={"optimisation": recipe.optimisation.model_copy(update={"steps": steps})})
