"""The command line: what it prints, its exit statuses, and what it changes."""

import json

import pytest
from click.testing import CliRunner

from bootserver import cli, cli_media
from bootserver.tables import Node
from host.run import Completed
from tests.unit.bootserver_deployment import Deployment, event
from wire.dongle import marked_start

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFake operator@example.org"


@pytest.fixture
def server(tmp_path):
    return Deployment(tmp_path / "state")


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key.pub"
    path.write_text(f"# mine\n{KEY}\n")
    return path


def run(*words, **options):
    return CliRunner().invoke(cli.main, [str(word) for word in words], **options)


def test_init_by_argument_option_and_environment(tmp_path):
    assert run("init", tmp_path / "a").exit_code == 0
    assert run("--state", tmp_path / "b", "init").exit_code == 0
    assert run("init", env={"BOOTSERVER_STATE": str(tmp_path / "c")}).exit_code == 0
    for name in "abc":
        assert (tmp_path / name / "master.key").is_file()
        assert json.loads(run("--state", tmp_path / name, "node", "list", "--format", "json").stdout) == []


def test_a_folder_that_is_a_servers_is_named_as_that(server):
    done = run("init", server.folder)
    assert done.exit_code == 1
    assert "[already-initialised]" in done.stderr


def test_what_is_no_boot_medium_is_not_made_into_one(server, tmp_path):
    other, made = tmp_path / "passwd", tmp_path / "ours.iso"
    other.write_text("root:x:0:0\n")
    said = server.cli("media", "make", str(other), str(made), status=1)
    assert f"{other} is no image of the general boot medium" in said
    assert not made.exists()


def test_a_failure_is_told_in_two_lines_and_no_traceback(tmp_path):
    done = run("--state", tmp_path, "node", "list")
    assert done.exit_code == 1
    assert done.stdout == ""
    title, hint = done.stderr.splitlines()
    assert title == f"There is no bootserver in this folder: {tmp_path} [not-initialised]"
    assert "bootserver init" in hint


def test_a_programming_error_is_told_without_a_traceback(server, monkeypatch):
    monkeypatch.setattr("bootserver.nodes.everyone", lambda session: 1 / 0)
    said = server.cli("node", "list", status=1)
    assert "A fault in the program: ZeroDivisionError" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        ["node", "add"],
        ["node", "state", "node1", "flying"],
        ["node", "set", "node1"],
        ["node", "set", "node1", "system_disk"],
        ["nonsense"],
        ["media", "key", "node1", "x", "--gateway", "10.0.2.2"],
        ["media", "key", "node1", "x", "--static", "10.0.2.15/24"],
        ["media", "key", "node1", "x", "--static", "10.0.2.15", "--gateway", "10.0.2.2"],
        ["media", "key", "node1", "x", "--static", "junk/24", "--gateway", "10.0.2.2"],
        ["media", "make", __file__, "x", "--server", "http://10.0.2.2:8080"],
        ["media", "key", "node1", "x", "--set", "NODE_KEY=x"],
        ["media", "key", "node1", "x", "--set", "VLAN_ID"],
        ["media", "key", "node1", "x", "--set", 'VLAN_ID=4"'],
        ["serve", "--listen", "nowhere"],
        ["slice", "add", "x", "--image", "sliver", "--attribute", "novalue"],
        ["slice", "set", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(server, words):
    server.add()
    assert run("--state", server.folder, *words).exit_code == 2


def test_a_node_with_all_its_options(server, key_file):
    added = server.cli_json(
        *(
            "node",
            "add",
            "Node1.Example.org",
            "--state",
            "inst",
            "--system-disk",
            "QM1",
            "--data-disks",
            "A,B",
        ),
        *("--ssh-key", key_file, "--min-memory", "900", "--min-disk", "8000", "--kernel-arguments", "quiet"),
        *("--base-image", "other", "--image", "sliver", "--image", "more"),
        *("--mirror", "http://near", "--mirror", "http://far:8080", "--bandwidth", "900", "--no-neighbours"),
    )
    assert (added["name"], added["boot_state"], len(added["run_id"])) == ("node1.example.org", "inst", 32)
    shown = server.cli_json("node", "show", "node1.example.org")
    assert shown["system_disk"] == "QM1"
    assert shown["data_disks"] == "A,B"
    assert shown["ssh_keys"] == [KEY]
    assert (shown["memory_mib"], shown["disk_mib"]) == (900, 8000)
    assert shown["kernel_arguments"] == "quiet"
    assert (shown["base_image"], shown["images"]) == ("other", ["sliver", "more"])
    assert (shown["mirrors"], shown["bandwidth_kib"]) == (["http://near", "http://far:8080"], 900)
    assert shown["neighbours"] is False


@pytest.mark.parametrize("name", ["", "-a", "a_b", "a..b", "x" * 64, "a/b", "../a", "a b"])
def test_a_name_that_is_no_host_name_is_refused(server, name):
    assert "bad-node-name" in server.cli("node", "add", "--", name, status=1)


def test_a_name_is_used_once(server):
    server.cli("node", "add", "node1")
    assert "node-exists" in server.cli("node", "add", "NODE1", status=1)


def test_a_failed_add_leaves_no_node(server):
    server.cli("node", "add", "node1", "--min-memory", "-5", status=1)
    assert server.cli_json("node", "list") == []


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("system_disk=QM2", "system_disk", "QM2"),
        ("system-disk=", "system_disk", ""),
        ("data_disks=none", "data_disks", "none"),
        ("root_mib=4000", "root_mib", 4000),
        ("images=a,b", "images", ["a", "b"]),
        ("images=", "images", []),
        ("kernel_arguments=a=b c", "kernel_arguments", "a=b c"),
        ("mirrors=http://m:81/x/,https://[fe80::1]:8", "mirrors", ["http://m:81/x", "https://[fe80::1]:8"]),
        ("mirrors=", "mirrors", []),
        ("bandwidth_kib=500", "bandwidth_kib", 500),
        ("bandwidth_kib=0", "bandwidth_kib", 0),
        ("neighbours=off", "neighbours", False),
        ("neighbours=on", "neighbours", True),
    ],
)
def test_fields_are_set(server, assignment, field, value):
    server.add()
    before = server.node().generation
    server.cli("node", "set", "node1", assignment)
    assert getattr(server.node(), field) == value
    assert server.node().generation == before + 1


def test_a_clean_reinstallation_is_asked_for_once(server):
    server.add()
    server.cli("node", "state", "node1", "rins", "--clean")
    assert server.node().clean
    server.cli("node", "state", "node1", "rins")
    assert not server.node().clean
    assert "--clean goes with rins" in server.cli("node", "state", "node1", "inst", "--clean", status=2)


@pytest.mark.parametrize(
    "assignment",
    [
        *("name=x", "sealed_key=x", "run_id=x", "boot_state=boot"),
        *("root_mib=0", "root_mib=x", "root_mib=99999999999"),
        *("data_disks=", "base_image=../x", "images=a,B!", "kernel_arguments=a\nb"),
        *("mirrors=ftp://m", "mirrors=http://u:p@m", "mirrors=http://m/?q", "mirrors=http://m, http://n"),
        *(
            "mirrors=" + ",".join(f"http://m{number}" for number in range(17)),
            "bandwidth_kib=-1",
            "neighbours=1",
        ),
    ],
)
def test_what_cannot_be_set(server, assignment):
    server.add()
    before = server.node().generation
    assert "bad-setting" in server.cli("node", "set", "node1", "swap_mib=100", assignment, status=1)
    assert (server.node().generation, server.node().swap_mib) == (before, Node.swap_mib.default.arg)


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN OPENSSH PRIVATE KEY-----\nSECRETSECRET\n", 'command="x" ssh-rsa AAAA', "\x00"]
)
def test_only_public_keys_are_taken_and_others_not_shown(server, tmp_path, text):
    path = tmp_path / "k"
    path.write_text(text)
    said = server.cli("node", "add", "node1", "--ssh-key", path, status=1)
    assert "bad-ssh-key" in said
    assert "SECRET" not in said


def test_the_new_run_is_printed(server):
    server.add()
    before = server.node().run_id
    assert server.node().run_id in server.cli("node", "state", "node1", "boot")
    printed = server.cli_json("node", "state", "node1", "rins")
    assert printed["run_id"] == server.node().run_id != before


def test_tables_are_for_people(server):
    server.add()
    told = event(1, "error", code="no-disk", title="There is no disk", detail="x")
    server.client().call("BootReportEvents", [told])
    table = server.cli("node", "list")
    assert "error: no-disk" in table
    assert "node1" in server.cli("node", "show", "node1")


def test_events_as_lines_and_as_json(server):
    server.add()
    server.client().call("BootReportEvents", [event(n, step=f"s{n}") for n in (1, 2, 3)])
    lines = server.cli("node", "events", "node1", "--last", "2").splitlines()
    assert [line.split()[-1] for line in lines] == ["step=s2", "step=s3"]
    rows = [
        json.loads(line) for line in server.cli("node", "events", "node1", "--format", "json").splitlines()
    ]
    assert [row["seq"] for row in rows] == [1, 2, 3]
    after = server.cli("node", "events", "node1", "--after", rows[1]["id"], "--format", "json")
    assert json.loads(after)["seq"] == 3


def test_a_node_cannot_steer_the_operators_terminal(server):
    server.add()
    evil = "\x9b2Jfake\x85[red]"
    server.client().call("BootReportEvents", [event(1, "step.started", title=evil, step="s")])
    for words in (("node", "events", "node1"), ("node", "list"), ("node", "show", "node1")):
        said = server.cli(*words)
        assert "\x9b" not in said
        assert "\x85" not in said


@pytest.mark.parametrize("kind", ["node", "slice"])
def test_what_is_not_there_is_not_asked_about(server, kind):
    done = run("--state", server.folder, kind, "remove", "nope", input="y\n")
    assert done.exit_code == 1
    assert "Remove it?" not in done.output
    assert f"no-such-{kind}" in done.output


def test_the_wrong_address_is_named_and_not_what_is_missing_besides(server):
    server.add()
    done = run("--state", server.folder, "media", "key", "node1", "x", "--static", "10.0.0.300/24")
    assert done.exit_code == 2
    assert "10.0.0.300" in done.output
    assert "--gateway" not in done.output


def test_removing_asks_first(server):
    server.add()
    assert run("--state", server.folder, "node", "remove", "node1", input="n\n").exit_code == 1
    assert server.cli_json("node", "list")
    server.cli("node", "remove", "node1", "--yes")
    assert server.cli_json("node", "list") == []


class FakeRunner:
    """Remembers what would be run."""

    lines = []

    def __call__(self, argv, **_):
        words = tuple(str(word) for word in argv)
        self.lines.append(words)
        return Completed(words, 0, "", "", 0.0)


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.setattr(cli_media, "Runner", FakeRunner)
    FakeRunner.lines = []
    return FakeRunner


def test_the_key_is_neither_printed_nor_an_argument(server, runner, tmp_path):
    server.add()
    said = server.cli("media", "key", "node1", tmp_path / "key.img", "--server", "http://10.0.2.2:8080")
    key = server.key()
    for form in (key.to_text(), key.secret.hex()):
        assert form not in said + str(runner.lines)
    assert [line[0] for line in runner.lines] == ["mkfs.vfat", "mcopy"]
    assert [word.rpartition("/")[2] for word in runner.lines[1]][3:] == ["plnode.txt", "root.json", "::"]
    assert (tmp_path / "key.img").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.img", "state"]


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://x/path", 'http://x"'])
def test_a_url_that_the_node_would_refuse_is_refused(server, runner, tmp_path, url):
    server.add()
    said = server.cli("media", "key", "node1", tmp_path / "k", "--server", url, status=1)
    assert "malformed-node-configuration" in said
    assert not (tmp_path / "k").exists()


def test_a_medium_does_not_replace_a_device(server, runner):
    server.add()
    assert "cannot-write-medium" in server.cli("media", "key", "node1", "/dev/null", status=1)
    assert "cannot-write-medium" in server.cli("media", "dongle", "/dev/null", status=1)


def test_the_mark_of_a_dongle_is_written(server, tmp_path):
    server.cli("media", "dongle", tmp_path / "dongle.img")
    assert (tmp_path / "dongle.img").read_bytes() == marked_start()
