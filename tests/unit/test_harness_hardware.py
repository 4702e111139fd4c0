"""The command line of a machine under test, and the tiny guest that tries an accelerator."""

from pathlib import Path

import pytest

from tests.vm.harness.accelerator import boot_sector, expected_status
from tests.vm.harness.hardware import (
    Boot,
    Bus,
    Cd,
    DirectKernel,
    Disk,
    Firmware,
    FirstDisk,
    Hardware,
    NetworkCard,
    Nic,
    UsbStick,
    Wires,
    argv,
)

WIRES = Wires(Path("/w/qmp"), Path("/w/console"), Path("/w/events"))
ISO = Path("/i/boot.iso")


def line(hardware: Hardware, accelerator: str = "tcg") -> str:
    return " ".join(argv(hardware, WIRES, accelerator))


@pytest.mark.parametrize(
    ("boot", "expected"),
    [
        (DirectKernel(Path("/k"), Path("/i"), "boot=live", ISO), "-kernel /k -initrd /i -append boot=live"),
        (UsbStick(ISO), "usb-storage,bus=xhci.0,id=medium,drive=drive-medium,serial=BOOTSTICK,removable=on"),
        (Cd(ISO), "ide-cd,id=medium,drive=drive-medium,bus=ide.5,bootindex=0"),
    ],
)
def test_boot(boot: Boot, expected: str) -> None:
    assert expected in line(Hardware(boot))


@pytest.mark.parametrize(
    ("bus", "device"),
    [
        (Bus.VIRTIO, "virtio-blk-pci,id=d,"),
        (Bus.SATA, "ide-hd,bus=ide.0,id=d,"),
        (Bus.NVME, "nvme,id=d,"),
        (Bus.USB, "usb-storage,bus=xhci.0,id=d,"),
        (Bus.SCSI, "scsi-hd,bus=scsi.0,id=d,"),
    ],
)
def test_disk_on_each_bus(bus: Bus, device: str) -> None:
    told = line(Hardware(FirstDisk(), (Disk("d", Path("/d.img"), "S1", bus),)))
    assert device in told
    assert "serial=S1" in told


def test_read_only_disk_is_read_only_to_qemu() -> None:
    told = line(Hardware(FirstDisk(), (Disk("key", Path("/k.img"), read_only=True),)))
    assert "file=/k.img,format=raw,cache=unsafe,readonly=on" in told


def test_bad_sectors_are_made_by_qemu() -> None:
    told = line(Hardware(FirstDisk(), (Disk("d", Path("/d.img"), bad=(1024, 4096)),)))
    assert "driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=/d.img," in told
    for number, sector in enumerate((2, 8)):
        assert f"inject-error.{number}.iotype=read,file.inject-error.{number}.sector={sector}," in told


def test_without_boot_medium_the_first_disk_boots() -> None:
    disks = (Disk("a", Path("/a")), Disk("b", Path("/b")))
    told = argv(Hardware(FirstDisk(), disks), WIRES, "tcg")
    assert [word for word in told if "bootindex" in word] == ["virtio-blk-pci,id=a,drive=drive-a,bootindex=0"]


def test_firmware() -> None:
    assert "pflash" not in line(Hardware(FirstDisk()))
    assert "OVMF_VARS_4M.fd,snapshot=on" in line(Hardware(FirstDisk(), firmware=Firmware.UEFI))
    told = line(Hardware(FirstDisk(), firmware=Firmware.SECURE_BOOT))
    assert "q35,smm=on" in told
    assert "property=secure,value=on" in told
    assert "OVMF_CODE_4M.ms.fd,readonly=on" in told


def test_from_the_network_the_card_boots_and_no_disk() -> None:
    disks = (Disk("a", Path("/a")),)
    told = argv(Hardware(NetworkCard("http://10.0.2.2:80/x.ipxe"), disks), WIRES, "tcg")
    assert [word for word in told if "bootindex" in word] == [
        "virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56,bootindex=0"
    ]
    assert "user,id=net0,bootfile=http://10.0.2.2:80/x.ipxe" in told


def test_in_a_namespace_the_card_is_at_its_tap() -> None:
    told = argv(Hardware(NetworkCard("http://10.0.2.2:80/x.ipxe"), namespace="n"), WIRES, "tcg")
    assert told[:5] == ["ip", "netns", "exec", "n", "qemu-system-x86_64"]
    assert "tap,id=net0,ifname=tap0,script=no,downscript=no" in told


def test_network_forwards_only_from_loopback() -> None:
    told = line(Hardware(FirstDisk(), nic=Nic.E1000, forwards=((22, 4000), (80, 4001))))
    assert "hostfwd=tcp:127.0.0.1:4000-:22,hostfwd=tcp:127.0.0.1:4001-:80" in told
    assert "e1000,netdev=net0" in told
    assert "netdev" not in line(Hardware(FirstDisk(), nic=Nic.NONE))


def test_tiny_guest() -> None:
    sector = boot_sector()
    assert len(sector) == 512
    assert sector.endswith(b"\x55\xaa")
    assert bytes([0x66, 0xBA, 0xF4, 0x00, 0xB0, 0x2A, 0xEE]) in sector
    assert expected_status() == 85
