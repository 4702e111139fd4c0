"""Join JUnit XML files: `junit.py RESULT PART...`; a part that is missing is an error of its own."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def join(parts: list[Path]) -> tuple[ElementTree.Element, int]:
    """All test suites in one document, and how many of the parts are missing."""
    result = ElementTree.Element("testsuites", name="make test")
    missing = 0
    for part in parts:
        if part.exists():
            # What pytest of this very run wrote, not a document from outside.
            result.extend(ElementTree.parse(part).getroot().iter("testsuite"))
            continue
        missing += 1
        suite = ElementTree.SubElement(result, "testsuite", name=part.stem, tests="1", errors="1")
        case = ElementTree.SubElement(suite, "testcase", classname=part.stem, name="ran")
        ElementTree.SubElement(case, "error", message="the tests did not run to their end")
    return result, missing


def main() -> int:
    """Write the joined result and print the counts."""
    target, *parts = (Path(name) for name in sys.argv[1:])
    result, missing = join(parts)
    counts = {
        name: sum(int(suite.get(name, "0")) for suite in result)
        for name in ("tests", "failures", "errors", "skipped")
    }
    ElementTree.ElementTree(result).write(target, encoding="utf-8", xml_declaration=True)
    print(f"{target}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
