"""Lines to and from people: all hear, whoever types first answers, the end ends it."""

import os
import time

import pytest

from host import held_up, terminal
from host.terminal import Line, Lines, TerminalEnded, page
from tests.unit.fake_terminal import FakeTerminal


class Person:
    """Somebody at a line made of pipes."""

    def __init__(self, name):
        reading, self.hand = os.pipe()
        self.eye, writing = os.pipe()
        self.line = Line(name, reading, writing)

    def types(self, text):
        os.write(self.hand, text.encode())

    @property
    def sees(self):
        os.set_blocking(self.eye, False)
        try:
            return os.read(self.eye, 65536).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def people():
    return Person("ttyS0"), Person("tty1")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(terminal, "LOOK_SECONDS", 0.01)


def lines(people, ended=lambda: ""):
    return Lines([person.line for person in people], ended)


def test_all_hear_and_whoever_types_answers(people):
    one, other = people
    other.types("  yes  \n")
    assert lines(people).ask("Sure?") == "yes"
    assert one.sees == other.sees == "Sure?\n"


def test_halves_of_lines_of_two_people_are_not_mixed(people):
    one, other = people
    talk = lines(people)
    one.types("ye")
    other.types("no\ns")
    assert talk.ask("Sure?") == "no"
    one.types("s\n")
    assert talk.ask("Sure?") == "yes"
    other.types("top\n")
    assert talk.ask("Sure?") == "stop"


def test_nothing_but_plain_characters_goes_out(people):
    lines(people).say("disk \x1b[2J\u00fc\x07 of\nsomebody")
    assert people[0].sees == "disk ?[2J?? of\nsomebody\n"


def test_who_hangs_up_is_not_waited_for_and_nobody_is_the_end(people):
    one, other = people
    talk = lines(people)
    os.close(one.hand)
    other.types("here\n")
    assert talk.ask("Anybody?") == "here"
    os.close(other.hand)
    with pytest.raises(TerminalEnded, match="Nobody"):
        talk.ask("Anybody?")


def test_the_end_is_said_once_to_all_while_a_question_waits(people):
    looks = iter(["", "", ""])
    talk = lines(people, lambda: next(looks, "The node goes on."))
    with pytest.raises(TerminalEnded, match="goes on"):
        talk.ask("Sure?")
    for person in people:
        assert person.sees == "Sure?\n\nThe node goes on.\n"


def test_a_pause_ends_with_the_conversation_and_forgets_what_was_typed(people):
    talk = lines(people)
    people[0].line.typed += b"again\n"
    talk.pause(0.02)
    people[1].types("later\n")
    assert talk.ask("?") == "later"
    with pytest.raises(TerminalEnded):
        lines(people, lambda: "over").pause(60)


def test_a_line_that_takes_nothing_is_given_up(people, monkeypatch):
    monkeypatch.setattr(held_up, "STUCK_SECONDS", 0.05)
    stuck, other = people
    os.set_blocking(stuck.line.writing, False)
    lines([stuck]).say("x" * 100_000)
    # Nobody at another line waits for it a second time.
    monkeypatch.setattr(held_up, "STUCK_SECONDS", 60)
    began = time.monotonic()
    lines([stuck, other]).say("y")
    assert time.monotonic() - began < 10
    assert other.sees == "y\n"
    assert "y" not in stuck.sees
    # It takes text again, and is waited for again.
    lines([stuck, other]).say("hello")
    assert stuck.sees == "hello\n"
    assert not stuck.line.is_held_up


def test_noise_without_end_does_not_fill_the_memory(people):
    talk = lines(people, iter([""] * 5 + ["over"]).__next__)
    people[0].types("x" * 5000)
    with pytest.raises(TerminalEnded):
        talk.ask("?")
    assert len(people[0].line.typed) <= terminal.MOST_TYPED


@pytest.mark.parametrize(
    ("rows", "answers", "seen"), [(23, [], 23), (24, [""], 24), (60, ["", "q"], 46), (60, ["q"], 23)]
)
def test_long_texts_come_a_screen_at_a_time(rows, answers, seen):
    person = FakeTerminal(*answers)
    page(person, "\n".join(f"row {number}" for number in range(rows)))
    shown = [line for said in person.said for line in said.splitlines() if line.startswith("row")]
    assert len(shown) == seen
    assert person.answers == []


def test_long_rows_count_as_the_rows_that_they_take():
    person = FakeTerminal("")
    page(person, "x" * 79 * 24)
    assert [len(said.splitlines()) for said in person.said if "x" in said] == [23, 1]
    assert "1 more lines" in person.text
