"""What the server says of related images, and the dongle remembers: of any shape, it stops nothing."""

import json

import pytest

from host.events import Events
from host.http import NotAtServer
from images.cache import Cache
from images.documents import Document, Documents
from images.manifest import sha256
from images.plan import Relative
from images.relatives import relatives_of
from wire.session import NodeKey

A, B, M = ("a" * 64, "b" * 64, "c" * 64)
GOOD = [{"old": A, "update": B}]
DOCUMENT = f"updates-{sha256(b'base')[:16]}"
SHAPES = [
    *(None, True, 1, 1.5, "text", {}, {"old": A, "update": B}),
    *([1], [None], [[]], ["text"], [{}], [{"old": A}], [[A, B]]),
    *([{"old": 1, "update": B}], [{"old": None, "update": B}], [{"old": A, "update": [B]}]),
    *([{"old": "../" + A, "update": B}], [{"old": A.upper(), "update": B}], [*GOOD, 5]),
]


class Server:
    def __init__(self, answer):
        self.answer = answer

    def get(self, path, limit):
        assert path == f"/images/updates/{M}"
        if self.answer is None:
            raise NotAtServer(path)
        return self.answer


@pytest.fixture
def documents(tmp_path):
    return Documents(Cache(tmp_path, Events("test")), NodeKey(bytes(32)))


def test_the_dongle_remembers_what_the_server_said(documents):
    wanted = (Relative(A, B),)
    assert relatives_of("base", M, Server(json.dumps(GOOD).encode()), documents) == wanted
    assert relatives_of("base", M, Server(None), documents) == wanted
    assert relatives_of("other", M, Server(None), documents) == ()


@pytest.mark.parametrize("answer", [*(json.dumps(shape).encode() for shape in SHAPES), b"", b"[" * 60_000])
def test_an_answer_of_another_shape_is_none(documents, answer):
    relatives_of("base", M, Server(json.dumps(GOOD).encode()), documents)
    assert relatives_of("base", M, Server(answer), documents) == (Relative(A, B),)


@pytest.mark.parametrize("body", [True, 1, "text", [], {"manifest": M}, {"manifest": A, "updates": GOOD}])
def test_a_document_of_another_shape_is_none(documents, body):
    assert documents.write(DOCUMENT, Document(0, body))
    assert relatives_of("base", M, Server(None), documents) == ()


@pytest.mark.parametrize(
    "rows", [shape for shape in SHAPES if "null" not in json.dumps(shape) and shape != 1.5]
)
def test_nor_are_rows_of_another_shape(documents, rows):
    assert documents.write(DOCUMENT, Document(0, {"manifest": M, "updates": rows}))
    assert relatives_of("base", M, Server(None), documents) == ()


def test_nothing_but_what_was_understood_is_remembered(documents):
    """What else an answer has might be of no canonical form, and so of no MAC."""
    answer = json.dumps([{**GOOD[0], "speed": 1.5}] * 100).encode()
    assert len(relatives_of("base", M, Server(answer), documents)) == 16
    assert documents.read(DOCUMENT).body == {"manifest": M, "updates": GOOD * 16}
