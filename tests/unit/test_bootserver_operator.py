"""The operator's pages and API."""

import threading
import time

import pytest

from bootserver import views
from tests.unit.bootserver_deployment import Deployment, event

SECRET_FIELDS = ("key", "sealed_key", "sealed")


def test_an_empty_fleet_says_what_to_do(tmp_path):
    page = Deployment(tmp_path / "state").operator.get("/")
    assert "bootserver node add" in page.text


def test_the_fleet_shows_every_node(server):
    server.add("node2")
    server.client().call("BootReportEvents", [event(1, step="unpack", title="Unpack the base filesystem")])
    server.client().call("BootReportEvents", [event(2, "step.progress", fraction=0.375)])
    page = server.operator.get("/").text
    assert "node1" in page
    assert "node2" in page
    assert "Unpack the base filesystem" in page
    assert "width: 38%" in page
    assert server.operator.get("/fleet").text.strip() in page


def test_an_error_is_shown_with_its_hint(server):
    told = event(1, "error", code="no-disk", title="There is no disk", detail="none", hint="Plug one in.")
    server.client().call("BootReportEvents", [told])
    page = server.operator.get("/nodes/node1").text
    for text in ("There is no disk", "Plug one in.", "no-disk"):
        assert text in page


def test_what_a_node_says_is_text_and_no_markup(server):
    told = event(1, "step.started", title="<script>alert(1)</script>", step="<b>")
    server.client().call("BootReportEvents", [told])
    for path in ("/", "/nodes/node1"):
        page = server.operator.get(path)
        assert "<script>alert" not in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]


def test_the_api_shows_nodes_without_secrets(server):
    (row,) = server.operator.get("/api/nodes").json()
    assert (row["name"], row["boot_state"], row["status"]["step"]) == ("node1", "inst", "")
    whole = server.operator.get("/api/nodes/node1").json()
    assert whole["base_image"] == "base"
    secret = server.key()
    for text in (
        server.operator.get(path).text for path in ("/api/nodes", "/api/nodes/node1", "/nodes/node1")
    ):
        assert secret.to_text() not in text
        assert secret.secret.hex() not in text
    assert not set(SECRET_FIELDS) & set(whole)


def test_events_after_the_last_one_known(server):
    server.client().call("BootReportEvents", [event(1), event(2)])
    first, second = server.operator.get("/api/nodes/node1/events").json()
    assert server.operator.get(f"/api/nodes/node1/events?after={first['id']}").json() == [second]
    assert server.operator.get(f"/api/nodes/node1/events?after={second['id']}").json() == []


def test_waiting_for_an_event_ends_when_it_comes(server):
    client = server.client()
    later = threading.Timer(0.3, lambda: client.call("BootReportEvents", [event(1)]))
    later.start()
    before = time.monotonic()
    rows = server.operator.get("/api/nodes/node1/events?wait=30").json()
    later.join()
    assert [row["seq"] for row in rows] == [1]
    assert time.monotonic() - before < 10


def test_waiting_ends_without_one(server):
    assert server.operator.get("/api/nodes/node1/events?wait=0.1").json() == []


@pytest.mark.parametrize("query", ["after=x", "wait=-1", "wait=nan", "after=1e300"])
def test_a_strange_query_is_refused(server, query):
    assert server.operator.get(f"/api/nodes/node1/events?{query}").status_code == 400


@pytest.mark.parametrize("path", ["/nodes/x", "/api/nodes/x", "/api/nodes/x/events", "/PLCAPI/"])
def test_what_is_not_there(server, path):
    assert server.operator.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/nodes"])
def test_a_page_from_elsewhere_cannot_read_the_fleet_by_its_own_name(server, path):
    assert server.operator.get(path, headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_nothing_is_changed_over_http(server, method):
    assert getattr(server.operator, method)("/api/nodes/node1").status_code == 405


def test_a_node_that_fell_silent_stands_out(server):
    assert "checks in more often" not in server.operator.get("/").text
    server.set(contacted=time.time() - views.SILENT_SECONDS - 5)
    assert "checks in more often" in server.operator.get("/").text
