"""The .network file, and what debug mode and the plan show people."""

import pytest

from bootmanager.engine import Preview
from bootmanager.preview import plan_data, plan_text
from host import network
from host.installed import NoKernel, kernel_versions, newest_kernel
from steps.base import Change, Effect, Keeps
from wire.nodeconf import IpMethod, NetworkSettings

STATIC = NetworkSettings(
    IpMethod.STATIC, "52:54:00:AB:CD:EF", "10.0.2.15", "255.255.255.0", "10.0.2.2", ("10.0.2.3",)
)


def test_dhcp_takes_any_hardware_interface_but_no_slivers_one():
    text = network.render(NetworkSettings())
    assert "Type=ether\nKind=!*" in text
    assert "DHCP=ipv4" in text


def test_static_by_mac():
    text = network.render(STATIC)
    assert "PermanentMACAddress=52:54:00:ab:cd:ef" in text
    assert "Address=10.0.2.15/24\nGateway=10.0.2.2\nDNS=10.0.2.3" in text
    assert "DHCP" not in text


def test_by_name():
    assert "[Match]\nName=eno1\n" in network.render(NetworkSettings(device="eno1"))


def test_a_changed_file_is_noticed(tmp_path):
    network.write(STATIC, tmp_path)
    assert network.configured(STATIC, tmp_path)
    assert not network.configured(NetworkSettings(), tmp_path)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "boot").mkdir()
    return tmp_path


def test_the_newest_kernel_with_an_initramfs(root):
    for name in ("vmlinuz-6.9.1", "initrd.img-6.9.1", "vmlinuz-6.12.3", "initrd.img-6.12.3", "vmlinuz-6.13"):
        (root / "boot" / name).write_text("")
    assert kernel_versions(root) == ["6.9.1", "6.12.3", "6.13"]
    found = newest_kernel(root, "quiet")
    assert (found.image, found.initramfs) == ("vmlinuz-6.12.3", "initrd.img-6.12.3")
    assert found.arguments == "root=/dev/bmnode/root ro panic=60 quiet"


def test_no_kernel(root):
    with pytest.raises(NoKernel):
        newest_kernel(root, "")
    (root / "boot/vmlinuz-6.12.3").write_text("")
    with pytest.raises(NoKernel, match="initramfs"):
        newest_kernel(root, "")


PREVIEWS = (
    Preview("detect", "Detect hardware", Effect.READS, True),
    Preview(
        "partition",
        "Partition",
        Effect.DESTROYS,
        False,
        (Change(Keeps.DESTROY, "/dev/vda", "ext4 with data"), Change(Keeps.CREATE, "/dev/vda", "GPT")),
    ),
    Preview("report", "Report", Effect.CHANGES, False, (), "not known before it runs: Mark"),
)


def test_the_plan_for_people():
    assert plan_text(PREVIEWS).splitlines() == [
        "detect: Detect hardware -- known",
        "partition: Partition -- to do",
        "    will DESTROY /dev/vda: ext4 with data",
        "    will create  /dev/vda: GPT",
        "report: Report -- not known before it runs: Mark",
    ]


def test_the_plan_for_programs():
    data = plan_data(PREVIEWS)
    assert [step["step"] for step in data] == ["detect", "partition", "report"]
    assert data[1]["changes"][0] == {"keeps": "destroy", "target": "/dev/vda", "text": "ext4 with data"}
