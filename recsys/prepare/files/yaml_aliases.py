"""Anchors and aliases of YAML that can be written out: none holds itself, and all together are not too many values."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

MOST_VALUES = 1_000_000
"""Of a document with its aliases written out; configs have hundreds."""
_OPEN = 0


class AliasChecks(yaml.composer.Composer):  # type: ignore[misc]  # PyYAML has no types
    """What a loader inherits from, before the loader of PyYAML, to refuse such aliases before it follows them."""

    def get_single_node(self) -> yaml.Node | None:
        """The document.

        Raises:
            yaml.composer.ComposerError: if an alias stands inside of what it names, or there are too many values.
        """
        node = super().get_single_node()
        if node is not None:
            _num_values(node, {})
        return node


def _num_values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node is when its aliases are written out."""
    if id(node) not in known:
        known[id(node)] = _OPEN
        known[id(node)] = found = 1 + sum(_num_values(child, known) for child in _children(node))
        if found > MOST_VALUES:
            raise yaml.composer.ComposerError(
                problem=f"its aliases stand for more than {MOST_VALUES:,} values", problem_mark=node.start_mark
            )
    if known[id(node)] == _OPEN:
        raise yaml.composer.ComposerError(
            problem="an alias stands inside of the value that it names", problem_mark=node.start_mark
        )
    return known[id(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
