"""What is served to classic nodes below /boot/."""

from tests.unit.classic.nodes import manager, node_id_of


def test_a_nodes_id_by_its_card(server):
    assert node_id_of(server, mac_addr="52:54:00:ab:cd:ef") == "-1"
    server.cli("node", "classic", "node1", "--on", "--mac", "52:54:00:AB:cd:ef")
    assert node_id_of(server, mac_addr="52:54:00:ab:cd:ef") == "1"
    assert server.web.post("/boot/getnodeid.php?mac_addr=52:54:00:AB:CD:EF").text == "1"
    assert node_id_of(server, mac_addr="52:54:00:ab:cd:00") == "-1"
    assert node_id_of(server, mac_addr="%") == "-1"
    server.cli("node", "classic", "node1", "--off")
    assert node_id_of(server, mac_addr="52:54:00:ab:cd:ef") == "-1"


def test_a_nodes_id_by_the_address_of_its_calls(marked):
    assert node_id_of(marked) == "-1"
    manager(marked).hmac("AuthCheck")
    assert node_id_of(marked) == "1"
    marked.add("node2")
    marked.cli("node", "classic", "node2", "--on")
    manager(marked, "node2").hmac("AuthCheck")
    assert node_id_of(marked) == "-1", "two nodes behind one address: no guess"


def test_a_card_that_two_nodes_claim_is_nobodys(marked):
    manager(marked).hmac("BootUpdateNode", {"primary_network": {"mac": "52:54:00:ab:cd:ef"}})
    assert node_id_of(marked, mac_addr="52:54:00:ab:cd:ef") == "1"
    marked.add("node2")
    marked.cli("node", "classic", "node2", "--on", "--mac", "52:54:00:ab:cd:ef")
    assert node_id_of(marked, mac_addr="52:54:00:ab:cd:ef") == "-1"


def upload(server, content=b"all went well", **fields):
    files = {"log": ("bm.log", content)}
    return server.web.post("/boot/upload-bmlog.php", data={"type": "bm.log", **fields}, files=files)


def logs(server, node_id=1):
    return [path.read_bytes() for path in sorted((server.folder / f"classic/logs/{node_id}").glob("*"))]


def test_a_log_is_kept_for_nodes_that_called_from_there(marked):
    assert upload(marked).status_code == 404
    manager(marked).hmac("AuthCheck")
    answer = upload(marked, b"line one\r\nline \xff two\n", hostname="node1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert logs(marked) == [b"line one\r\nline \xff two\n"]
    (path,) = (marked.folder / "classic/logs/1").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_the_last_logs_are_kept(marked):
    manager(marked).hmac("AuthCheck")
    for number in range(12):
        upload(marked, b"%d" % number)
    assert logs(marked) == [b"%d" % number for number in range(4, 12)]


def test_behind_one_address_the_name_says_whose_log_it_is(marked):
    marked.add("node2")
    marked.cli("node", "classic", "node2", "--on")
    for name in ("node1", "node2"):
        manager(marked, name).hmac("AuthCheck")
    assert upload(marked, b"whose?").status_code == 404
    assert upload(marked, b"two", hostname="Node2").status_code == 200
    assert (logs(marked, 1), logs(marked, 2)) == ([], [b"two"])


def test_a_log_over_the_limit_is_refused(marked):
    assert upload(marked, b"x" * (2 * 1024 * 1024)).status_code == 404, "a stranger's is not even read"
    manager(marked).hmac("AuthCheck")
    assert upload(marked, b"x" * (2 * 1024 * 1024)).status_code == 413
    assert logs(marked) == []


def test_the_archive_of_the_base_filesystem(marked):
    folder = marked.folder / "classic"
    folder.mkdir()
    for name in ("bootstrapfs-planetlab-trixie-x86_64.tar.bz2", "bootstrapfs-planetlab-i386.tar.bz2.sha1sum"):
        (folder / name).write_text(name)
        assert marked.web.get(f"/boot/{name}").status_code == 404
    (folder / "other").write_text("x")
    manager(marked).hmac("AuthCheck")
    for path in folder.glob("bootstrapfs-*"):
        assert marked.web.get(f"/boot/{path.name}").text == path.name
    for name in (
        "other",
        "bootstrapfs-no-such-thing.tar.bz2",
        "..%2Fmaster.key",
        "bootstrapfs-..%2F-x.tar.bz2",
    ):
        assert marked.web.get(f"/boot/{name}").status_code == 404
    marked.cli("node", "classic", "node1", "--off")
    assert marked.web.get("/boot/bootstrapfs-planetlab-trixie-x86_64.tar.bz2").status_code == 404
