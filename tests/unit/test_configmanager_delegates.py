"""The delegates' backend: accounts, their keys and numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends import delegates as module
from configmanager.backends.base import Verb
from configmanager.backends.delegates import FIRST, Delegates, TooManyDelegates, delegates_of
from configmanager.backends.sliver_accounts import NameTaken
from configmanager.slots import MOST, Slot
from tests.unit.configmanager_fakes import FakeNode
from wire.slivers import Account, NodeSlivers

ONE, TWO = Account("one", ("ssh-ed25519 AAAA one",), "delegate"), Account("two", ("x y",), "delegate")
DESIRED = NodeSlivers(1000, 1, "node1", accounts=(ONE, TWO, Account("site_admin", ("ssh-rsa AAAA x",))))


@pytest.fixture
def fake(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


def converge(fake: FakeNode, desired: NodeSlivers) -> list[tuple[Verb, str]]:
    backend = Delegates(fake.node)
    actions = backend.plan(desired, backend.observe())
    for action in actions:
        backend.apply(desired, action)
    assert backend.plan(desired, backend.observe()) == ()
    return [(action.verb, action.name) for action in actions]


def keys(fake: FakeNode, name: str) -> Path:
    return fake.root / "etc/ssh/delegates" / name


def test_accounts_come_change_and_go(fake):
    assert converge(fake, DESIRED) == [(Verb.CREATE, "one"), (Verb.CREATE, "two")]
    assert delegates_of(fake.root) == {FIRST: "one", FIRST + 1: "two"}
    assert keys(fake, "one").read_text() == "ssh-ed25519 AAAA one\n"
    made = next(words for words in fake.runner.argvs if words[0] == "useradd")
    assert made[made.index("--gid") + 1] == "delegates"
    assert made[made.index("--shell") + 1] == "/usr/bin/delegate-shell"
    changed = replace(DESIRED, accounts=(replace(ONE, keys=("ssh-ed25519 AAAA other",)), TWO))
    assert converge(fake, changed) == [(Verb.CHANGE, "one")]
    assert keys(fake, "one").read_text() == "ssh-ed25519 AAAA other\n"
    assert converge(fake, replace(DESIRED, accounts=(TWO,))) == [(Verb.REMOVE, "one")]
    assert delegates_of(fake.root) == {FIRST + 1: "two"}
    assert not keys(fake, "one").exists()
    assert ["pkill", "--signal", "KILL", "--uid", str(FIRST)] in fake.runner.argvs


def test_an_account_that_was_not_finished_is_finished_with_its_number(fake):
    converge(fake, DESIRED)
    keys(fake, "two").unlink()
    assert converge(fake, DESIRED) == [(Verb.CREATE, "two")]
    assert delegates_of(fake.root)[FIRST + 1] == "two"


def test_nobody_else_of_that_name_becomes_a_delegate(fake):
    (fake.root / "etc").mkdir()
    (fake.root / "etc/passwd").write_text("one:x:0:0::/root:/bin/sh\n")
    with pytest.raises(NameTaken):
        converge(fake, DESIRED)
    assert not keys(fake, "one").exists()


def test_the_group_of_all_delegates_is_no_delegate(fake):
    with pytest.raises(NameTaken):
        converge(fake, replace(DESIRED, accounts=(Account("delegates", ("x y",), "delegate"),)))


def test_numbers_are_no_slices_and_end(fake, monkeypatch):
    assert Slot(MOST).account < FIRST
    assert Slot(1).first_user > FIRST + module.MOST
    monkeypatch.setattr(module, "MOST", 1)
    with pytest.raises(TooManyDelegates):
        converge(fake, DESIRED)
