"""Booting over the network: what is taken out of an image, what dnsmasq tells whom, what is served."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bootserver.dnsmasq import Addresses, configuration
from hwdetect.media import Fetched, Media
from steps.base import Context, Facts
from steps.verify_medium import MediumNotSigned, VerifyMedium
from tests.host.server_process import Process, bootserver, cli
from wire.trust import TrustedRoot

pytestmark = pytest.mark.host

ROOT = Path(__file__).parents[2]
URL = "http://192.0.2.1:8082"
SCRIPT = f"{URL}/netboot/boot.ipxe"
FULL = Addresses("192.0.2.10", "192.0.2.99", "255.255.255.0", gateway="192.0.2.1")
START_SECONDS = 20


def command(*words):
    return subprocess.run([*map(str, words)], check=True, capture_output=True, text=True).stdout


@contextmanager
def asking_dnsmasq(folder, text):
    """Run dnsmasq with this configuration in a namespace; give what asks it from another one."""
    name = f"pxe{os.getpid()}"
    server, client = f"{name}s", f"{name}c"
    with ExitStack() as stack:
        for namespace in (server, client):
            command("ip", "netns", "add", namespace)
            stack.callback(command, "ip", "netns", "delete", namespace)
            command("ip", "-n", namespace, "link", "set", "lo", "up")
        command("ip", "-n", server, "link", "add", "lan0", "type", "veth", "peer", "eth0", "netns", client)
        for namespace, device, address in (
            (server, "lan0", "192.0.2.1/24"),
            (client, "eth0", "192.0.2.200/24"),
        ):
            command("ip", "-n", namespace, "address", "add", address, "dev", device)
            command("ip", "-n", namespace, "link", "set", device, "up")
        file = folder / "dnsmasq.conf"
        file.write_text(text)
        command("dnsmasq", "--test", "-C", file)
        # --no-ping: it would look for three seconds whether somebody has the address.
        words = ["--keep-in-foreground", "--no-ping", f"--dhcp-leasefile={folder / 'leases'}", "--user=root"]
        with (folder / "dnsmasq.log").open("w") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", server, "dnsmasq", "-C", file, *words, "--log-facility=-"], stderr=log
            )
        stack.callback(process.wait)
        stack.callback(process.kill)

        def ask(architecture, vendor="PXEClient", user_class=""):
            line = ["ip", "netns", "exec", client, sys.executable, "-m", "tests.host.pxe_client"]
            words = [str(architecture), vendor, user_class]
            return json.loads(
                subprocess.run([*line, *words], check=True, capture_output=True, cwd=ROOT).stdout
            )

        deadline = time.monotonic() + START_SECONDS
        while "DHCP" not in (folder / "dnsmasq.log").read_text():
            assert time.monotonic() < deadline, (folder / "dnsmasq.log").read_text()
            time.sleep(0.05)
        yield ask


def test_dnsmasq_gives_each_kind_of_machine_what_it_can_start(tmp_path):
    with asking_dnsmasq(tmp_path, configuration(URL, "lan0", FULL)) as ask:
        bios = ask(0)
        assert bios["file"] == "undionly.kpxe"
        assert bios["address"].startswith("192.0.2.")
        assert bios["router"]
        assert ask(7)["file"] == ask(9)["file"] == "snponly.efi"
        by_http = ask(16, "HTTPClient")
        assert (by_http["file"], by_http["vendor"]) == (f"{URL}/netboot/snponly.efi", "HTTPClient")
        for architecture in (0, 7, 9, 16):
            assert ask(architecture, user_class="iPXE")["file"] == SCRIPT


def test_beside_another_dhcp_no_address_is_given(tmp_path):
    with asking_dnsmasq(tmp_path, configuration(URL, "lan0", "192.0.2.0")) as ask:
        bios = ask(0)
        assert (bios["address"], bios["file"], bios["vendor"]) == ("0.0.0.0", "undionly.kpxe", "PXEClient")
        assert ask(7)["file"] == ask(9)["file"] == "snponly.efi"
        for architecture in (0, 7):
            script = ask(architecture, user_class="iPXE")
            assert (script["address"], script["file"]) == ("0.0.0.0", SCRIPT)


@pytest.fixture
def iso(tmp_path):
    """A boot medium's image in small: a kernel, a ramdisk, and a layer with a few modules."""

    def make(name="a"):
        live, tree = tmp_path / name / "live", tmp_path / f"{name}-tree"
        modules = tree / "usr/lib/modules/6.1"
        needs = {
            "kernel/drivers/net/ethernet/a/card.ko.xz": "kernel/lib/sum.ko.xz",
            "kernel/lib/sum.ko.xz": "",
            "kernel/drivers/net/wireless/radio.ko.xz": "kernel/lib/other.ko.xz",
            "kernel/lib/other.ko.xz": "",
        }
        for path in needs:
            (modules / path).parent.mkdir(parents=True, exist_ok=True)
            (modules / path).write_text(path)
        (modules / "modules.dep").write_text("".join(f"{one}: {other}\n" for one, other in needs.items()))
        (modules / "modules.dep.bin").write_text("bin")
        live.mkdir(parents=True)
        (live / "vmlinuz").write_text("kernel")
        (live / "initrd").write_text("ramdisk")
        (tree / "content").write_text(name)
        command("mksquashfs", tree, live / "10-a.squashfs", "-quiet", "-no-progress")
        made = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "BMBOOT", "-R", "-o", tmp_path / f"{name}.iso"]
        command(*made, tmp_path / name)
        return tmp_path / f"{name}.iso"

    return make


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    cli(folder, "init", folder)
    return folder


def published(folder, iso):
    key = json.loads(cli(folder, "netboot", "publish", iso, "--format", "json"))["key"]
    return folder / "netboot" / key


def test_what_is_published_is_the_medium_and_drivers_of_network_cards(server, iso, tmp_path):
    folder = published(server, iso())
    assert sorted(path.name for path in folder.iterdir()) == [
        "10-a.squashfs", "initrd", "layers.sha256", "vmlinuz",
    ]  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--quiet", "layers.sha256"], cwd=folder, check=True)
    ramdisk = (folder / "initrd").read_bytes()
    # The medium's own, filled up to a multiple of four bytes.
    assert ramdisk.startswith(b"ramdisk\x00070701")
    (tmp_path / "archive").write_bytes(ramdisk[8:])
    (tmp_path / "opened").mkdir()
    command("cpio", "-idm", "--quiet", "-D", tmp_path / "opened", "-F", tmp_path / "archive")
    files = {path.name for path in (tmp_path / "opened").rglob("*") if path.is_file()}
    assert files == {"layers.sha256", "card.ko.xz", "sum.ko.xz", "modules.dep.bin"}
    assert (tmp_path / "opened/conf/layers.sha256").read_text() == (folder / "layers.sha256").read_text()


def test_the_one_before_stays_and_the_one_before_that_goes(server, iso):
    image = iso("b")
    first, second = published(server, iso("a")), published(server, image)
    assert published(server, image) == second
    assert first.is_dir()
    third = published(server, iso("c"))
    assert sorted((server / "netboot").iterdir()) == sorted((second, third))


def test_what_is_no_boot_medium_is_not_published(server):
    said = subprocess.run(
        [*bootserver(server), "netboot", "publish", "/etc/passwd"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (said.returncode, "not-boot-medium-image" in said.stderr) == (1, True)
    assert list((server / "netboot").iterdir()) == []


def verify(fetched, root):
    facts = Facts((Media(fetched=fetched), TrustedRoot(root)))
    return VerifyMedium().observe(Context(None, facts))


def test_what_is_served_is_what_a_node_verifies(server, iso):
    folder = published(server, iso("old"))
    newer = published(server, iso("new"))
    running = Process(server, serving=["--netboot", "127.0.0.1:0"])
    try:
        url = f"{running.netboot}/netboot/{folder.name}"
        metadata = urllib.request.urlopen(f"{url}/metadata.json").read()
        wanted = urllib.request.Request(f"{url}/10-a.squashfs", headers={"Range": "bytes=10-"})
        answer = urllib.request.urlopen(wanted)
        assert (answer.status, answer.read()) == (206, (folder / "10-a.squashfs").read_bytes()[10:])
        script = urllib.request.urlopen(f"{running.netboot}/netboot/52-54-00-12-34-56.ipxe").read().decode()
        assert f"live-url={running.netboot}/netboot/{newer.name} " in script
        for path in ("master.key", f"{folder.name}/..%2f..%2fmaster.key", f"{folder.name}/layers.sha256"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{running.netboot}/netboot/{path}")
    finally:
        running.end()
    layers, root = (folder / "layers.sha256").read_bytes(), (server / "metadata/1.root.json").read_bytes()
    assert verify(Fetched(layers, metadata), root).holds
    assert verify(Fetched((newer / "layers.sha256").read_bytes(), metadata), root).holds
    with pytest.raises(MediumNotSigned):
        verify(Fetched(layers.replace(b"10-a", b"10-b"), metadata), root)


def test_dnsmasq_reads_what_the_command_writes(server, tmp_path):
    said = ["--url", URL, "--interface", "lan0", "--output", tmp_path / "made.conf"]
    cli(server, "netboot", "dnsmasq", *said, "--range", "192.0.2.10", "192.0.2.99", "255.255.255.0")
    command("dnsmasq", "--test", "-C", tmp_path / "made.conf")
    assert "192.0.2.10,192.0.2.99" in (tmp_path / "made.conf").read_text()
