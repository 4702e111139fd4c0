"""Numbering changes, so that a change of a node is found by its number alone, and never missed."""

from __future__ import annotations

from sqlalchemy.orm import object_session

from bootserver.tables import Node, Setting

_KEY = "generation"


def changed(*nodes: Node) -> None:
    """Give nodes the next number; one for all of them. Every number is given out once, in a deployment."""
    session = object_session(nodes[0]) if nodes else None
    if session is None:
        return
    setting = session.get(Setting, _KEY) or Setting(key=_KEY, value="1")
    setting.value = str(int(setting.value) + 1)
    session.add(setting)
    for node in nodes:
        node.generation = int(setting.value)
