"""The files around the package: make targets, credits, documentation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from typer.main import get_command

from streamwatch.cli.main import app
from streamwatch.distribution import DISTRIBUTION
from tests.support.paths import ROOT


def commands(command: Any, name: str = "streamwatch") -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name
        return
    for child, inner in children.items():
        yield from commands(inner, f"{name} {child}")


@pytest.fixture(scope="module")
def documentation() -> str:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("command", sorted(commands(get_command(app))))
def test_documentation_names_the_command(command: str, documentation: str) -> None:
    """In full, or after another of its group: `streamwatch alerts list`, `show`."""
    group, leaf = command.rsplit(" ", 1)
    assert command in documentation or any(
        f"`{group} " in line and f"`{leaf}`" in line for line in documentation.splitlines()
    )


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8")


def test_notice_credits_every_asset() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for asset in (ROOT / "streamwatch" / "assets").iterdir():
        assert f"streamwatch/assets/{asset.name}" in notice


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "not found: install Python 3.10 to 3.13"),
        ('case "$*" in *version_info*) exit 1;; --version) echo Python 3.8.2;; esac', "is Python 3.8.2"),
        ('case "$*" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
    ids=["no python", "too old", "no venv"],
)
def test_make_says_in_one_line_what_is_missing(tmp_path: Path, script: str | None, said: str) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        python.chmod(0o755)
    done = subprocess.run(
        ["make", "--no-print-directory", "demo", f"PYTHON={python}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))},
    )
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / ".venv").exists()


def test_nothing_says_to_install_the_other_project_of_that_name() -> None:
    """`streamwatch` on PyPI is not this program."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'name = "{DISTRIBUTION}"' in project
    assert DISTRIBUTION != "streamwatch"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    places = listed or ["pyproject.toml", "README.md", "config.yaml"]
    wrong = re.compile(r"(?<![\w.-])streamwatch\[\w|pip3? install [^\n`]*(?<![\w/.-])streamwatch(?![\w/-])")
    found = [
        f"{place}: {hint.group()}"
        for place in places
        if place.endswith((".py", ".md", ".yaml", ".toml", "Dockerfile", "Makefile")) and not place.startswith("tests/")
        for hint in wrong.finditer((ROOT / place).read_text(encoding="utf-8"))
    ]
    assert found == []


LOCKED_EXTRAS = ("postgres", "s3", "parquet", "mqtt", "otel", "c2pa", "timelines")


def requirements(project: str, name: str) -> list[Requirement]:
    """A list of requirements in pyproject.toml."""
    found = re.search(rf"^{name} = \[(.*?)\]$", re.sub(r"  #.*", "", project), re.MULTILINE | re.DOTALL)
    assert found is not None
    return [Requirement(text) for text in re.findall(r'"([^"]+)"', found[1])]


def test_the_lock_holds_the_dependencies_by_hash() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", "")
    entries = [line for line in text.splitlines() if line and not line.startswith("#")]
    locked: dict[str, list[str]] = {}
    for entry in entries:
        found = re.fullmatch(
            r"([\w.-]+(?:\[[\w,-]+\])?)==([^\s;]+)( ; [^#]*?)?((?: +--hash=sha256:[0-9a-f]{64})+) *", entry
        )
        assert found is not None, f"no hash, or an address: {entry[:80]}"
        locked.setdefault(found[1].split("[")[0], []).append(found[2])
    assert [name for name in locked if name.startswith(("torch", "nvidia", "triton"))] == []
    for name in ("dependencies", *LOCKED_EXTRAS):
        for requirement in requirements(project, name):
            if requirement.name != "torch":
                assert locked[requirement.name]
                assert all(version in requirement.specifier for version in locked[requirement.name]), requirement


@pytest.mark.parametrize(
    ("where", "name", "vulnerable"),
    [
        ("dependencies", "torch", "2.5.1"),  # CVE-2025-32434
        ("dependencies", "opencv-python", "4.11.0.86"),  # CVE-2025-53644
        ("dependencies", "ray", "2.51.1"),  # CVE-2025-62593, no tokens
        ("dependencies", "jinja2", "3.1.5"),  # CVE-2025-27516
        ("parquet", "pyarrow", "14.0.0"),  # CVE-2023-47248
        ("evaluate", "scikit-learn", "1.4.2"),  # CVE-2024-5206
    ],
)
def test_versions_with_known_holes_are_refused(where: str, name: str, vulnerable: str) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (requirement,) = (found for found in requirements(project, where) if found.name == name)
    assert vulnerable not in requirement.specifier
