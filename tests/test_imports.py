"""The direction of imports: stages know nothing of what stands on them, and few rooms know Ray."""

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

BASE = {
    "plain",
    "backoff",
    "distribution",
    "extensions",
    "enums",
    "allocator",
    "files",
    "cpu",
    "validation",
    "records",
    "errors",
    "config",
}
MAY_IMPORT["backoff"] = set()
MAY_IMPORT["plain"] = set()
MAY_IMPORT["setting_names"] = set()
MAY_IMPORT["yaml_text"] = set()
MAY_IMPORT["extensions"] = {"errors"}
MAY_IMPORT["distribution"] = set()
MAY_IMPORT["enums"] = set()
MAY_IMPORT["allocator"] = set()
MAY_IMPORT["files"] = set()
MAY_IMPORT["cpu"] = set()
MAY_IMPORT["validation"] = set()
MAY_IMPORT["errors"] = set()
MAY_IMPORT["records"] = {"enums", "errors"}
MAY_IMPORT["config"] = {"setting_names", "yaml_text"} | {"enums", "errors", "extensions", "records", "validation"}
MAY_IMPORT["sources"] = BASE
MAY_IMPORT["logs"] = {"config", "sources"}
MAY_IMPORT["faces"] = BASE | {"sources"}
MAY_IMPORT["detectors"] = BASE | {"sources", "faces"}
MAY_IMPORT["fusion"] = BASE | {"sources", "faces", "detectors"}
STAGES = BASE | {"sources", "faces", "detectors", "fusion"}
MAY_IMPORT["store"] = STAGES
MAY_IMPORT["drawing"] = STAGES
MAY_IMPORT["formats"] = STAGES | {"store"}
MAY_IMPORT["times"] = set()
MAY_IMPORT["provenance"] = BASE | {"sources"}
MAY_IMPORT["report"] = STAGES | {"store", "drawing", "provenance", "times"}
MAY_IMPORT["sinks"] = BASE | {"sources", "store"}
MAY_IMPORT["pipeline"] = STAGES
MAY_IMPORT["evaluation"] = STAGES | {"pipeline"}
MAY_IMPORT["training"] = STAGES | {"evaluation"}
MAY_IMPORT["studies"] = STAGES | {"evaluation", "training"}
MAY_IMPORT["local_runtime"] = {"errors"}
MAY_IMPORT["cluster"] = STAGES | {"local_runtime", "logs", "pipeline", "store", "sinks"}
RUNS = STAGES | {"logs", "pipeline", "cluster", "store", "drawing"}
MAY_IMPORT["archive"] = RUNS
MAY_IMPORT["live"] = RUNS | {"sinks"}
MAY_IMPORT["telemetry"] = BASE | {"sources", "cluster", "live"}
MAY_IMPORT["doctor"] = STAGES | {"local_runtime", "store"}
MAY_IMPORT["demo"] = RUNS | {"archive"}
MAY_IMPORT["bench"] = RUNS | {"archive", "live", "demo", "evaluation", "telemetry"}
MAY_IMPORT["__init__"] = STAGES | {"store", "archive"}
MAY_IMPORT["cli"] = set(MAY_IMPORT)

RAY = {"cluster", "archive", "live"}
"""Rooms that know Ray: its plumbing, and the two drivers that hand it work."""

HEAVY = ("torch", "ray", "av", "cv2", "onnxruntime", "scipy", "sklearn")


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


def dependencies(path: Path) -> Iterator[str]:
    """Modules that a file may have imported, by every name that it imports from; packages are left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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


def test_only_the_cluster_and_what_runs_on_it_import_ray() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for room, path in modules()
        if room not in RAY
        for name, line in imported(path)
        if name.split(".")[0] == "ray"
    ]
    assert wrong == []


def test_no_module_imports_itself_round_a_circle() -> None:
    files = {".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)): path for _, path in modules()}
    waiting = {name: {other for other in dependencies(path) if other in files} - {name} for name, path in files.items()}
    while free := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting, f"circles among or below: {sorted(waiting)}"


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
