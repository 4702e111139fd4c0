"""Numbers of slivers: kept, never shared, refused when the list of them is damaged."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from configmanager import slots
from configmanager.slots import NETWORK, NoSlotLeft, Slot, Slots, SlotsDamaged


def test_a_number_stays_with_its_sliver_and_is_free_again_afterwards(tmp_path):
    assert [Slots(tmp_path).take(name, "x").number for name in ("a", "b", "c")] == [1, 2, 3]
    assert Slots(tmp_path).take("b", "x").number == 2
    Slots(tmp_path).release("a", "x")
    Slots(tmp_path).release("a", "x")
    assert Slots(tmp_path).take("d", "x").number == 1
    assert {name: slot.number for name, slot in Slots(tmp_path).all().items()} == {"b": 2, "c": 3, "d": 1}


def test_a_number_is_free_when_nobody_holds_it_any_more(tmp_path):
    slots = Slots(tmp_path)
    assert slots.take("a", "x") == slots.take("a", "y") == Slot(1)
    assert slots.take_all(["c", "a", "b"], "z") == {"c": Slot(2), "a": Slot(1), "b": Slot(3)}
    slots.release("a", "x")
    slots.release_others(["b"], "z")
    assert slots.held("z") == {"b": Slot(3)}
    assert slots.all() == {"a": Slot(1), "b": Slot(3)}
    assert slots.take("d", "x") == Slot(2)
    slots.release("a", "y")
    assert slots.take("e", "x") == Slot(1)


def test_numbers_are_taken_by_threads_side_by_side(tmp_path):
    names = [f"n{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda name: Slots(tmp_path).take(name, "x").number, names))
    assert sorted(taken) == list(range(1, 21))
    assert {name: slot.number for name, slot in Slots(tmp_path).all().items()} == dict(
        zip(names, taken, strict=True)
    )


def test_nothing_of_two_slots_meets():
    all_slots = [Slot(number) for number in range(1, slots.MOST + 1)]
    for what in ("interface", "network", "gateway", "address", "first_user", "account"):
        assert len({getattr(slot, what) for slot in all_slots}) == slots.MOST
    assert all(slot.network.subnet_of(NETWORK) for slot in (all_slots[0], all_slots[-1]))
    assert {slot.gateway for slot in all_slots}.isdisjoint(slot.address for slot in all_slots)
    assert max(slot.account for slot in all_slots) < min(slot.first_user for slot in all_slots)
    # Names of interfaces have at most 15 characters; users 31 bits, as programs expect of them.
    assert max(len(slot.interface) for slot in all_slots) <= 15
    assert all_slots[-1].first_user + 0xFFFF < 2**31


def test_a_full_node_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "MOST", 2)
    for name in ("a", "b"):
        Slots(tmp_path).take(name, "x")
    with pytest.raises(NoSlotLeft):
        Slots(tmp_path).take("c", "x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a": 1}',
        '{"a": {"number": 1}}',
        '{"a": {"number": "x", "held_by": []}}',
        '{"a": {"number": 1, "held_by": []}, "b": {"number": 1, "held_by": []}}',
        '{"a": {"number": 0, "held_by": []}}',
        '{"../a": {"number": 1, "held_by": []}}',
        "[" * 9999,
    ],
)
def test_a_damaged_list_is_refused_and_stays(tmp_path, text):
    file = tmp_path / slots.FILE
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(SlotsDamaged):
        Slots(tmp_path).take("c", "x")
    assert file.read_text() == text
