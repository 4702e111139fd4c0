"""A person at a terminal: what they type is given, what they see is kept."""

from host.terminal import TerminalEnded
from host.texts import shown


class FakeTerminal:
    """A Terminal; when all answers are given, the conversation is over."""

    def __init__(self, *answers, sees=lambda: None):
        self.answers = list(answers)
        self.said, self.hidden, self.pauses, self.shells = [], [], [], 0
        self._sees = sees

    @property
    def text(self):
        return "\n".join(self.said)

    def say(self, text):
        self._sees()
        self.said.append(shown(text))

    def ask(self, question, *, hidden=False):
        self.say(question)
        if not self.answers:
            raise TerminalEnded("all is said")
        answer = self.answers.pop(0)
        (self.hidden if hidden else self.said).append(answer)
        return answer

    def pause(self, seconds):
        self.pauses.append(seconds)

    def shell(self, run):
        self.shells += 1
        return "ttyS0"
