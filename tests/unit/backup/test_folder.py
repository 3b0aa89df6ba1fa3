"""A folder that cannot be looked into is not taken for an empty one."""

from pathlib import Path

import pytest

from shieldx_runtime.backup.errors import DestinationError
from shieldx_runtime.backup.folder import Folder


def test_a_volume_that_is_not_mounted_has_not_no_copies(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "not-mounted")
    with pytest.raises(DestinationError, match="is not there: mount the volume"):
        list(folder.find("dev.credits/"))
    with pytest.raises(DestinationError, match="is not there: mount the volume"):
        folder.folders("dev.credits")


def test_what_cannot_be_read_is_told_and_what_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert list(folder.find("dev.credits/")) == []
    assert folder.folders("dev.credits") == []
    (tmp_path / "dev.credits").write_text("no folder", encoding="utf-8")
    with pytest.raises(DestinationError, match="check the volume and its permissions"):
        list(folder.find("dev.credits/"))


def test_folders_are_those_with_something_in_them(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.put("dev.credits/one/manifest", b"x")
    (tmp_path / "dev.credits" / "two").mkdir()
    assert folder.folders("dev.credits") == ["one"]
    assert [found.key for found in folder.find("dev.credits/")] == ["dev.credits/one/manifest"]
