"""Where tests lie, and that what several of them need is not looked for in one of them."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"


def packages(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/__init__.py")}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_folders_of_tests_are_rooms_of_the_package() -> None:
    assert packages(TESTS) - packages(ROOT / "streamwatch") == {SUPPORT.name, "fuzz"}
    assert {path.parent for path in TESTS.rglob("test_*.py")} <= {path.parent for path in TESTS.rglob("__init__.py")}


def test_support_holds_no_tests() -> None:
    assert list(SUPPORT.rglob("test_*.py")) == []


def test_no_test_imports_another_test_file() -> None:
    files = sorted(TESTS.rglob("*.py"))
    tests = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.name.startswith("test_")}
    assert {str(path.relative_to(TESTS)): found for path in files if (found := imported(path) & tests)} == {}
