"""YAML as policies and configuration use it: plain data, nothing that surprises.

A key written twice, an alias (which can unfold to gigabytes) and a tag are refused; dates stay text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envcheck.errors import BadInput

if TYPE_CHECKING:
    import yaml

_MAX_LENGTH = 1024 * 1024


def read_yaml(text: str, source: str) -> Any:
    """Return what `text` says as plain data, {} when it says nothing.

    Raises BadInput naming `source`, line and column of what can't be read.
    """
    import yaml

    if len(text) > _MAX_LENGTH:
        raise BadInput(f"{source} is larger than {_MAX_LENGTH} characters")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return {}
        _check(node, set())
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise BadInput(f"{source} is not valid YAML: {_where(error)}") from None
    except RecursionError:
        raise BadInput(f"{source} is nested too deeply") from None
    except (ValueError, KeyError) as error:
        raise BadInput(f"{source} holds a value that can't be read: {str(error)[:200]}") from None


def _check(node: yaml.Node, seen: set[int]) -> None:
    import yaml

    if id(node) in seen and not isinstance(node, yaml.ScalarNode):
        raise _refused("an alias (`*name`) has no place here: write it out", node)
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, item in node.value:
            if isinstance(key.value, str) and key.value in keys:
                raise _refused(f"the key {key.value[:80]!r} is there twice", key)
            keys.add(str(key.value))
            _check(key, seen)
            _check(item, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check(item, seen)
    elif node.tag == "tag:yaml.org,2002:timestamp":
        node.tag = "tag:yaml.org,2002:str"


def _refused(what: str, node: yaml.Node) -> Exception:
    import yaml

    return yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark)


def _where(error: Exception) -> str:
    """One line of PyYAML's several: line, column and problem."""
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())[:200]
    return problem if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
