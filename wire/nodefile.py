"""The lines of a node configuration file, each KEY="value", and complaints that name the line."""

from __future__ import annotations

import re

from wire.errors import ConfigurationError

_LINE = re.compile(r"""([A-Z][A-Z0-9_]*)=(?:"([^"]*)"|'([^']*)'|([^\s"']*))\s*""")


class MalformedNodeConfiguration(ConfigurationError):
    """The file cannot be read as a node configuration."""

    code = "malformed-node-configuration"
    title = "The node's configuration file is malformed"
    hint = "Correct the line, or write the key medium again at the server: bootserver media key NODE FILE."


class Values:
    """What stands in a file; `source` is named in complaints. Values never are: one of them is the key."""

    def __init__(self, text: str, source: str) -> None:
        """Raises MalformedNodeConfiguration."""
        self._source = source
        self._values: dict[str, tuple[int, str]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                self._values.update(self._pair(line, number))

    def text(self, key: str) -> str:
        """Return a key's value, "" where it is absent."""
        return self._values.get(key, (0, ""))[1]

    def need(self, key: str) -> str:
        """Return a key's value. Raises MalformedNodeConfiguration where it is absent."""
        value = self.text(key)
        if not value:
            raise self.wrong(key, "is missing")
        return value

    def wrong(self, key: str, reason: str) -> MalformedNodeConfiguration:
        """Return the complaint about a key: source, line, reason."""
        line = self._values.get(key, (0, ""))[0]
        where = f"{self._source}, line {line}" if line else self._source
        return MalformedNodeConfiguration(f"{where}: {key} {reason}")

    def _pair(self, line: str, number: int) -> dict[str, tuple[int, str]]:
        found = _LINE.fullmatch(line.strip())
        if not found:
            raise MalformedNodeConfiguration(f'{self._source}, line {number}: not of the form KEY="value"')
        key, value = found[1], found[2] or found[3] or found[4] or ""
        if not value:
            raise MalformedNodeConfiguration(f"{self._source}, line {number}: {key} is empty")
        return {key: (number, value)}
