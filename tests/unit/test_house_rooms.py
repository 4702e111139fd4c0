"""The rules of the house, read from the imports themselves."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = [["wire"], ["host"], ["hwdetect", "images"], ["steps"], ["bootmanager", "configmanager"]]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
BELOW_BOOTSERVER = {"wire", "images", "host", "bootserver"}
ROOMS = [*FLOOR, "bootserver"]
ONE_DOOR = ["subprocess", "transitions", "blivet", "pyudev", "requests"]
# Beside the signed calls in wire, the server seals keys at rest, also in wire.
CRYPTOGRAPHY_ROOMS = {"wire"}


# Each test of a library asks for those of all files.
@cache
def imports_of(path):
    names = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path):
    room = path.relative_to(ROOT).parts[0]
    for name in imports_of(path):
        top = name.split(".")[0]
        if top == room or top not in ROOMS:
            continue
        if room == "bootserver":
            assert top in BELOW_BOOTSERVER, f"{name}: bootserver stands on wire, images and host only"
        else:
            assert top in FLOOR, f"{name}: nothing stands on bootserver"
            assert FLOOR[top] < FLOOR[room], f"{name}: imports go down only"


@pytest.mark.parametrize("path", sorted((ROOT / "steps").glob("*.py")), ids=lambda path: path.name)
def test_no_step_imports_another(path):
    for name in imports_of(path):
        assert not name.startswith("steps.") or name.startswith("steps.base"), name


@pytest.mark.parametrize("library", ONE_DOOR)
def test_an_outside_library_has_one_door(library):
    doors = [path for path in FILES if any(name.split(".")[0] == library for name in imports_of(path))]
    assert len(doors) == 1, doors


def test_cryptography_stays_in_its_rooms():
    rooms = {
        path.relative_to(ROOT).parts[0]
        for path in FILES
        if any(name.split(".")[0] == "cryptography" for name in imports_of(path))
    }
    assert rooms == CRYPTOGRAPHY_ROOMS


def test_recipes_are_no_package():
    assert not (ROOT / "build/__init__.py").exists()
