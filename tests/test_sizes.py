"""Functions and classes stay small enough to be read at once, or say beside them why not.

A comment `# size: REASON` on the line of a `def` or `class`, or on the one above, lifts the limit.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "streamwatch"

MOST_LINES = 60
"""Of a function; the options of a command are not counted."""

MOST_FIELDS = 12
"""Of a class that is not a record: annotated in its body, or assigned to `self`."""

RECORDS = frozenset({"BaseModel", "BaseSettings", "NamedTuple"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(function: Function) -> int:
    """Without the signature, where that is the options of a command."""
    signature = ast.unparse(function.args)
    options = "typer.Option" in signature or "typer.Argument" in signature
    first = function.body[0].lineno if options else function.lineno
    assert function.end_lineno is not None
    return function.end_lineno - first + 1


def fields_of(node: ast.ClassDef) -> set[str]:
    found = {
        item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    for item in ast.walk(node):
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store):
            owner = item.value
            if isinstance(owner, ast.Name) and owner.id == "self":
                found.add(item.attr)
    return found


def record_names(trees: list[ast.Module]) -> set[str]:
    """Names of all classes that stand on one of `RECORDS`."""
    bases = {
        node.name: {ast.unparse(base).rsplit(".", 1)[-1] for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    names = set(RECORDS)
    while more := {name for name, above in bases.items() if above & names} - names:
        names |= more
    return names


def is_record(node: ast.ClassDef, names: set[str]) -> bool:
    frozen = any(
        isinstance(decorator, ast.Call)
        and ast.unparse(decorator.func) in ("dataclass", "dataclasses.dataclass")
        and any(keyword.arg == "frozen" and ast.unparse(keyword.value) == "True" for keyword in decorator.keywords)
        for decorator in node.decorator_list
    )
    return frozen or node.name in names


def excused(node: Function | ast.ClassDef, source: list[str]) -> bool:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return any("# size: " in source[line - 1] for line in (node.lineno, max(1, first - 1)))


def too_large(text: str, records: set[str]) -> Iterator[str]:
    source = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            size, most, what = lines_of(node), MOST_LINES, "lines"
        elif isinstance(node, ast.ClassDef) and not is_record(node, records):
            size, most, what = len(fields_of(node)), MOST_FIELDS, "fields"
        else:
            continue
        if size > most and not excused(node, source):
            yield f"{node.name} has {size} {what}, more than {most}"


def test_functions_and_classes_are_small_or_say_why_not() -> None:
    texts = {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))
    }
    records = record_names([ast.parse(text) for text in texts.values()])
    found = {name: list(too_large(text, records)) for name, text in texts.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def function(lines: int, signature: str = "def f():", comment: str = "") -> str:
    return f"{signature}{comment}\n" + "    pass\n" * (lines - 1)


def class_(fields: int, head: str = "class C:") -> str:
    return f"{head}\n" + "".join(f"    x{number}: int\n" for number in range(fields))


COMMAND = "def f(\n    a: Annotated[int, typer.Option()],\n    b: Annotated[int, typer.Option()],\n):"
ASSIGNED = textwrap.dedent("""
    class C:
        a: int
        def __init__(self):
            self.a, self.b = 1, 2
            for self.c in range(3):
                self.d: int = 4
            self.e += 5
            self.other.f = 6
""")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (function(60), 0),
        (function(61), 1),
        (function(61, "async def f():"), 1),
        (function(61, comment="  # size: it is a table"), 0),
        (f"# size: it is a table\n@decorated\n{function(61)}", 0),
        (f"# size: another one's\n\n{function(61)}", 1),
        (COMMAND + "\n" + "    pass\n" * 60, 0),
        (COMMAND + "\n" + "    pass\n" * 61, 1),
        (class_(12), 0),
        (class_(13), 1),
        (class_(13, "# size: it is a table\nclass C:"), 0),
        (class_(13, "@dataclass(frozen=True)\nclass C:"), 0),
        (class_(13, "@dataclass\nclass C:"), 1),
        (class_(13, "class B(BaseModel): ...\nclass C(B):"), 0),
    ],
)
def test_the_limits_are_these(text: str, count: int) -> None:
    assert len(list(too_large(text, record_names([ast.parse(text)])))) == count


def test_fields_are_those_of_the_object() -> None:
    (node,) = ast.parse(ASSIGNED).body
    assert isinstance(node, ast.ClassDef)
    assert fields_of(node) == {"a", "b", "c", "d", "e"}
