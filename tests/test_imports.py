"""The direction of imports: stages know nothing of what stands on them, and only the engine knows Ray."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "streamwatch"

MAY_IMPORT: dict[str, set[str]] = {}
"""Room → rooms that it may import. A top-level module is a room of its own."""

BASE = {"enums", "heap", "records", "errors", "config"}
MAY_IMPORT["enums"] = set()
MAY_IMPORT["heap"] = set()
MAY_IMPORT["errors"] = set()
MAY_IMPORT["records"] = {"enums", "errors"}
MAY_IMPORT["config"] = {"enums", "errors", "records"}
MAY_IMPORT["sources"] = BASE
MAY_IMPORT["faces"] = BASE | {"sources"}
MAY_IMPORT["detectors"] = BASE | {"sources", "faces"}
MAY_IMPORT["fusion"] = BASE | {"sources", "faces", "detectors"}
STAGES = BASE | {"sources", "faces", "detectors", "fusion"}
MAY_IMPORT["store"] = STAGES
MAY_IMPORT["mp4"] = BASE | {"sources"}
MAY_IMPORT["annotate"] = STAGES | {"mp4"}
MAY_IMPORT["explain"] = STAGES | {"store"}
MAY_IMPORT["times"] = set()
MAY_IMPORT["provenance"] = BASE | {"sources"}
MAY_IMPORT["report"] = STAGES | {"store", "provenance", "times"}
MAY_IMPORT["training"] = STAGES | {"evaluation"}
MAY_IMPORT["sinks"] = BASE | {"sources", "store"}
MAY_IMPORT["engine"] = STAGES | {"store", "sinks", "annotate", "mp4"}
MAY_IMPORT["telemetry"] = BASE | {"sources", "engine"}
MAY_IMPORT["doctor"] = STAGES | {"store"}
MAY_IMPORT["demo"] = STAGES | {"annotate", "mp4", "store", "engine"}
MAY_IMPORT["evaluation"] = STAGES | {"annotate", "mp4", "demo", "engine", "store"}
MAY_IMPORT["__init__"] = STAGES | {"store", "engine"}
MAY_IMPORT["cli"] = set(MAY_IMPORT)

HEAVY = ("torch", "ray", "av", "cv2", "onnxruntime", "scipy")


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        yield room, path


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names of the modules that a file imports, anywhere in it, with the line."""
    package = (PACKAGE.name, *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            if module == PACKAGE.name:
                yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def test_every_room_has_a_rule() -> None:
    assert {room for room, _ in modules()} <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_imports_point_down(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for owner, path in modules()
        if owner == room
        for name, line in imported(path)
        if name.startswith(f"{PACKAGE.name}.") and name.split(".")[1] not in allowed
    ]
    assert wrong == []


def test_only_the_engine_imports_ray() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for room, path in modules()
        if room != "engine"
        for name, line in imported(path)
        if name.split(".")[0] == "ray"
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "statement",
    ["import streamwatch", "from streamwatch.cli.main import app; app(['--help'], standalone_mode=False)"],
    ids=["package", "help"],
)
def test_light_to_start(statement: str) -> None:
    check = f"import sys; print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; {check}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
