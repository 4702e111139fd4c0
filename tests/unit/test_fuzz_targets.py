"""The fuzzer's seeds, what it found, and simple changes of both, without the fuzzer."""

import random

import pytest

from tests.fuzz.targets import FOUND, inputs, targets


@pytest.mark.parametrize("name", targets())
def test_seeds_and_findings(name):
    for raw in inputs(name):
        targets()[name].run(raw)


@pytest.mark.parametrize("name", targets())
def test_seeds_cut_and_changed(name):
    dice = random.Random(5)
    run = targets()[name].run
    for raw in inputs(name):
        for _ in range(30):
            changed = bytearray(raw[: dice.randrange(len(raw) + 1)] if dice.random() < 0.2 else raw)
            for _ in range(dice.randrange(1, 4)):
                if changed:
                    changed[dice.randrange(len(changed))] = dice.choice(b"\x00\xff<>[]{}\"'0919-eE.&;\n")
            run(bytes(changed))


def test_findings_belong_to_a_target():
    assert {path.name for path in FOUND.iterdir() if path.is_dir()} <= set(targets())
