"""What a new sliver begins with, over images of several kinds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from configmanager.backends.sliver_seed import UnsuitableImage, plant, seeds_of
from wire.slivers import Sliver

SLIVER = Sliver("demo_one", 1, 2_000_000_000)
FIRST_USER = 1000 * 65536


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = tmp_path / "image"
    for folder in ("etc/pam.d", "home", "bin"):
        (image / folder).mkdir(parents=True)
    (image / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nfirst:x:1000:1000::/:/bin/sh\n")
    (image / "etc/group").write_text("root:x:0:\nsecond:x:1001:\n")
    (image / "etc/shadow").write_text("root:*:1::::::\n")
    (image / "etc/shadow").chmod(0o640)
    (image / "etc/pam.d/su").write_text("auth required pam_unix.so\n")
    return image


def texts(image: Path, sliver: Sliver = SLIVER) -> dict[str, str | None]:
    return {seed.path: seed.text for seed in seeds_of(sliver, image)}


def test_the_slices_user_gets_a_number_that_nobody_has(image: Path) -> None:
    found = texts(image)
    passwd, group = found["etc/passwd"] or "", found["etc/group"] or ""
    assert passwd.splitlines()[-1] == "demo_one:x:1002:1002::/home/demo_one:/bin/sh"
    assert group.splitlines()[-1] == "demo_one:x:1002:"
    assert (found["etc/shadow"] or "").splitlines()[-1] == "demo_one:*:1::::::"
    assert (found["etc/pam.d/su"] or "").startswith(
        "auth sufficient pam_wheel.so trust use_uid group=demo_one\n"
    )


def test_each_sliver_has_a_name_and_an_identity_of_its_own(image: Path) -> None:
    first, second = texts(image), texts(image)
    assert first["etc/hostname"] == "demo-one\n"
    assert first["etc/machine-id"] != second["etc/machine-id"]


def test_a_user_of_the_image_is_not_given_away(image: Path) -> None:
    found = texts(image, Sliver("first", 1, 2_000_000_000))
    assert sorted(found) == ["etc/hostname", "etc/hosts", "etc/machine-id"]


def test_an_image_without_users_gets_none(image: Path) -> None:
    (image / "etc/passwd").unlink()
    assert "etc/shadow" not in texts(image)


def test_an_image_that_has_all_numbers_is_refused_and_one_without_end_is_none(image: Path) -> None:
    with (image / "etc/passwd").open("a") as passwd:
        passwd.write(f"endless:x:{'9' * 5000}:1::/:/bin/sh\n")
    assert "demo_one:x:1002:" in (texts(image)["etc/passwd"] or "")
    with (image / "etc/passwd").open("a") as passwd:
        passwd.writelines(f"a:x:{number}:\n" for number in range(1000, 60000))
    with pytest.raises(UnsuitableImage, match="no number left"):
        texts(image)


def test_what_is_laid_over_the_image_is_owned_as_there(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: dict[str, tuple[int, int]] = {}
    upper = image.parent / "upper"
    upper.mkdir()
    monkeypatch.setattr(
        os, "chown", lambda path, *who: owners.__setitem__(str(Path(path).relative_to(upper)), who)
    )
    plant(seeds_of(SLIVER, image), image, upper, FIRST_USER)
    mine = image.stat().st_uid
    assert owners["etc"] == (FIRST_USER + mine, FIRST_USER + mine)
    assert owners["home/demo_one"] == (FIRST_USER + 1002, FIRST_USER + 1002)
    assert (upper / "etc/shadow").stat().st_mode & 0o777 == 0o640
    assert (upper / "etc").stat().st_mode == (image / "etc").stat().st_mode


@pytest.mark.parametrize("wrong", ["etc", "home"])
def test_an_image_with_a_link_in_place_of_a_folder_is_refused(
    image: Path, wrong: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (image / wrong).rename(outside)
    (image / wrong).symlink_to(outside)
    upper = tmp_path / "upper"
    upper.mkdir()
    with pytest.raises(UnsuitableImage, match=f"/{wrong}"):
        plant(seeds_of(SLIVER, image), image, upper, os.getuid())


def test_a_link_in_place_of_the_list_of_users_is_not_followed(image: Path) -> None:
    (image / "etc/shadow").unlink()
    (image / "etc/shadow").symlink_to("/etc/shadow")
    with pytest.raises(UnsuitableImage, match="/etc/shadow"):
        seeds_of(SLIVER, image)
