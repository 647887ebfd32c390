"""YAML as people write it: a key that stands twice is a mistake, and messages quote no values (passwords)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


class YamlProblem(Exception):
    """The text is not YAML, or says a thing twice. Its text is one line, and quotes no value."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in lines:
                    raise YamlProblem(f"line {line}: {key.value} stands in line {lines[key.value]} already")
                lines[key.value] = line
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The value of a document. Raises YamlProblem."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise YamlProblem(f"not valid YAML{place}") from None
    except yaml.YAMLError:
        raise YamlProblem("not valid YAML: a character that it may not hold") from None
    except RecursionError:
        raise YamlProblem("nested too deeply") from None
    except ValueError as error:
        raise YamlProblem(f"holds a value that cannot be ({type(error).__name__})") from None
