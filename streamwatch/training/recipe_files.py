"""The YAML files of recipes: those that ship, and files that say only how they differ from another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from streamwatch.errors import ConfigError

RECIPES = Path(__file__).parent / "recipes"


def find_recipe(recipe: str | Path) -> Path:
    """A path to a YAML file, or the name of a recipe that ships. Raises ConfigError naming those that do."""
    path = Path(recipe)
    if not path.is_file():
        path = RECIPES / f"{path.stem}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise ConfigError(f"{recipe}: no such recipe", f"give a YAML file or one of: {shipped}")
    return path


def read_recipe(path: Path) -> dict[str, Any]:
    """The values of a file over those of its `base` (a file beside it, or a recipe that ships), key by key.

    Raises ConfigError naming the file.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """`above`: the files that lead here."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a recipe: its top level must be keys and values")
    base = values.pop("base", None)
    if base is None:
        return values
    if path in above:
        raise ConfigError(f"{path}: base: leads back to this file")
    beside = path.parent / str(base)
    return _merged(_read(beside if beside.is_file() else find_recipe(str(base)), (*above, path)), values)


def _merged(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`values` over `base`, key by key in nested parts."""
    merged = dict(base)
    for key, value in values.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if nested else value
    return merged
