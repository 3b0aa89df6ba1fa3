import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dev.gomodules import Program, Progress, source_digest
from dev.localkube import binaries
from dev.localkube.process import StepError


def test_another_archive_under_the_same_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / binaries.ARCHIVE_NAME).write_bytes(b"something else")
    with pytest.raises(StepError, match=r"SHA-256 is [0-9a-f]{64}, expected 938f3587"):
        binaries.unpack_archive(tmp_path, tmp_path / "bin", print)
    assert not (tmp_path / "bin").exists()


def test_a_folder_without_the_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=f"SHIELDX_LOCALKUBE={tmp_path}: there is no {binaries.ARCHIVE_NAME}"):
        binaries.unpack_archive(tmp_path, tmp_path / "bin", print)


def test_a_file_of_the_module_the_compiler_or_a_flag_changes_the_digest_and_a_test_does_not(
    tmp_path: Path,
) -> None:
    shutil.copytree(binaries.SOURCES / "pause", tmp_path / "pause")
    program = Program("pause", tmp_path / "pause")
    before = source_digest(program, "go1.26.8")
    assert source_digest(program, "go1.27.0") != before
    assert source_digest(replace(program, ldflags="-s"), "go1.26.8") != before
    (tmp_path / "pause" / "more_test.go").write_text("package main\n")
    assert source_digest(program, "go1.26.8") == before
    (tmp_path / "pause" / "go.sum").write_text("x\n")
    assert source_digest(program, "go1.26.8") != before


def test_progress_tells_the_share_and_the_time_left() -> None:
    progress = Progress("coredns", 200, print)
    for _ in range(50):
        progress.compiled()
    assert progress.line(elapsed_s=30.0) == "building coredns: 25%, 50 of 200 packages, about 90 s left"


def test_progress_of_more_packages_than_foreseen_stays_below_the_whole() -> None:
    progress = Progress("coredns", 1, print)
    for _ in range(3):
        progress.compiled()
    assert "99%" in progress.line(elapsed_s=1.0)


@pytest.mark.parametrize("program", [*binaries.UPSTREAM, *binaries.OWN], ids=lambda program: program.name)
def test_every_program_has_a_module_with_pinned_sums(program: Program) -> None:
    assert (program.folder / "go.mod").is_file()
    requires = "require" in (program.folder / "go.mod").read_text()
    assert (program.folder / "go.sum").is_file() is requires


def test_the_big_binary_is_stamped_with_the_version_that_it_is() -> None:
    flags = next(program for program in binaries.UPSTREAM if program.name == "localkube").ldflags
    assert "-X k8s.io/component-base/version.gitVersion=v1.34.4" in flags
    assert "-X k8s.io/client-go/pkg/version.gitMinor=34" in flags
    assert "k8s.io/kubernetes v1.34.4" in (binaries.SOURCES / "localkube" / "go.mod").read_text()
