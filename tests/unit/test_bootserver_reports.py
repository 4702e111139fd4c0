"""Reports at the server: what is taken, what is refused, how many are kept, how an operator gets them."""

import gzip

import pytest

from bootserver.reports import REPORTS_PER_NODE
from host.server import CallRefused
from wire.reports import MAXIMUM_BYTES, METHOD


def archive(number=0):
    return gzip.compress(f"report {number}".encode(), mtime=0)


@pytest.fixture
def client(server):
    return server.client()


def test_a_report_is_listed_and_fetched_as_it_came(server, client, tmp_path):
    first = client.call(METHOD, {"archive": archive(1), "code": "no-disk"})
    second = client.call(METHOD, {"archive": archive(2), "code": ""})
    rows = server.cli_json("node", "reports", "node1")
    assert [(row["id"], row["code"], row["size_bytes"]) for row in rows] == [
        (first, "no-disk", len(archive(1))),
        (second, "", len(archive(2))),
    ]
    for words, expected in (([str(first)], archive(1)), ([], archive(2))):
        file = tmp_path / "report.tgz"
        server.cli("node", "report", "node1", *words, "--to", str(file))
        assert file.read_bytes() == expected
        assert file.stat().st_mode & 0o777 == 0o600


def test_the_newest_few_of_each_node_are_kept(server, client):
    server.add("node2")
    other = server.client("node2").call(METHOD, {"archive": archive(), "code": ""})
    sent = [client.call(METHOD, {"archive": archive(n), "code": ""}) for n in range(REPORTS_PER_NODE + 3)]
    assert [row["id"] for row in server.cli_json("node", "reports", "node1")] == sent[-REPORTS_PER_NODE:]
    assert [row["id"] for row in server.cli_json("node", "reports", "node2")] == [other]


def test_reports_go_with_their_node(server, client):
    client.call(METHOD, {"archive": archive(), "code": ""})
    server.cli("node", "remove", "node1", "--yes")
    server.add("node1")
    assert server.cli_json("node", "reports", "node1") == []


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"code": "x"},
        {"archive": "text", "code": ""},
        {"archive": b"no gzip", "code": ""},
        {"archive": archive() + bytes(MAXIMUM_BYTES), "code": ""},
        {"archive": archive(), "code": "x" * 65},
        {"archive": archive(), "code": 1},
    ],
)
def test_what_is_no_report_is_refused(server, client, said):
    with pytest.raises(CallRefused, match="fault 102"):
        client.call(METHOD, said)
    assert server.cli_json("node", "reports", "node1") == []


@pytest.mark.parametrize("words", [[], ["4711"]])
def test_one_that_is_not_there(server, tmp_path, words):
    said = server.cli("node", "report", "node1", *words, "--to", str(tmp_path / "x"), status=1)
    assert "no-such-report" in said
    assert not (tmp_path / "x").exists()
