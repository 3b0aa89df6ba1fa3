import json
import tarfile
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from dev.localkube import machine, ociimage, runc_within_bounds, sandbox, tools
from dev.localkube.cluster import cni_config, without_forwarding
from dev.localkube.nodeimage import storage_manifest
from dev.localkube.ociimage import Image, Layer
from dev.localkube.process import StepError, run
from dev.localkube.settings import Settings

WITHOUT_SYS_RESOURCE = "Name:\tx\nCapBnd:\t000001fffeffffff\n"


def test_a_privileged_container_asks_only_for_what_the_machine_grants() -> None:
    granted = runc_within_bounds.bounding_set(WITHOUT_SYS_RESOURCE)
    process: dict[str, Any] = {"capabilities": {"bounding": ["CAP_SYS_RESOURCE", "CAP_KILL"], "ambient": None}}
    runc_within_bounds.within(process, granted)
    assert process == {"capabilities": {"bounding": ["CAP_KILL"], "ambient": []}}
    assert len(granted) == len(runc_within_bounds.CAPABILITIES) - 1


@pytest.mark.parametrize(
    "arguments",
    [["exec", "--process", "/p.json", "id"], ["exec", "--process=/p.json", "id"], ["exec", "-p", "/p.json"]],
)
def test_runc_s_process_file_is_found_however_it_is_given(arguments: list[str]) -> None:
    assert runc_within_bounds.option(arguments, "--process", "-p") == "/p.json"


def test_debian_s_archives_are_taken_and_others_left() -> None:
    listing = (
        "http://deb.example/debian/ bookworm main Debian\n"
        "http://deb.example/debian/ bookworm main Debian\n"
        "https://vendor.example/apt nodistro main Vendor\n"
        "http://deb.example/debian/ bookworm contrib Debian\n"
    )
    sources = tools.debian_sources(listing)
    assert len(sources) == 1
    assert sources[0].endswith("http://deb.example/debian/ bookworm main")


def test_a_machine_without_a_debian_archive_is_told_what_to_do() -> None:
    with pytest.raises(StepError, match="start a container engine"):
        tools.debian_sources("https://vendor.example/apt nodistro main Vendor\n")


def test_without_root_the_error_names_root_and_the_way_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(StepError, match=r"root is needed.*container engine"):
        machine.require()


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == "ip" else f"/bin/{name}")
    with pytest.raises(StepError, match="program 'ip' is missing: install the package iproute2"):
        machine.require()


def test_a_full_disk_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FREE_DISK_BYTES", 1 << 60)
    with pytest.raises(StepError, match="XDG_CACHE_HOME"):
        machine.require_room(tmp_path)


def test_the_guard_lets_nothing_out_but_to_the_machine() -> None:
    rules = sandbox.guard_rules(Settings(Path("/c"), "sx", IPv4Network("198.18.251.0/30")))
    assert 'oifname "sx-node" ip daddr != 198.18.251.1 drop' in rules
    assert 'oifname "sx-node" ct state new drop' in rules
    assert "hook output" not in rules


def test_pods_get_addresses_of_their_node_s_network_and_are_not_masqueraded() -> None:
    bridge = json.loads(cni_config("198.18.64.0/24"))["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "198.18.64.0/24"}]]
    assert bridge["ipMasq"] is False


def test_names_outside_the_cluster_are_not_sought_where_there_is_no_way_out() -> None:
    corefile = (
        ".:53 {\n    kubernetes cluster.local {\n       ttl 30\n    }\n    forward . /etc/resolv.conf {\n"
        "       max_concurrent 1000\n    }\n    cache 30 {\n       disable success cluster.local\n    }\n"
        "    loop\n    reload\n}\n"
    )
    assert without_forwarding(corefile) == (
        ".:53 {\n    kubernetes cluster.local {\n       ttl 30\n    }\n"
        "    cache 30 {\n       disable success cluster.local\n    }\n    reload\n}\n"
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.write_text("shared program")
    own.write_text("own program")
    return shared, own


def test_the_same_files_give_the_same_archive_and_shared_layers_are_in_it_once(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    shared = Layer({"usr/bin/a": files[0]}, {"usr/bin/b": "a"})
    wanted = [
        Image(("localhost/one:1", "localhost/uno:1"), (shared,), ("/usr/bin/a",)),
        Image(("localhost/two:1",), (shared, Layer({"usr/bin/c": files[1]}))),
    ]
    ociimage.write(wanted, tmp_path / "1.tar", "x86_64")
    files[0].touch()
    ociimage.write(wanted, tmp_path / "2.tar", "x86_64")
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    with tarfile.open(tmp_path / "1.tar") as tar:
        blobs = [name for name in tar.getnames() if name.startswith("blobs/")]
        index = json.loads(tar.extractfile("index.json").read())  # type: ignore[union-attr]  # it is a file
    assert len(blobs) == len(set(blobs)) == 2 + 2 * 2  # two layers, and a manifest and a configuration for each image
    names = [manifest["annotations"]["io.containerd.image.name"] for manifest in index["manifests"]]
    assert names == ["localhost/one:1", "localhost/uno:1", "localhost/two:1"]


def test_kind_s_storage_manifest_is_completed_out_of_its_own_source(tmp_path: Path) -> None:
    source = tmp_path / "pkg/build/nodeimage/const_storage.go"
    source.parent.mkdir(parents=True)
    source.write_text(
        'const storageProvisionerImage = "p:1"\nconst storageHelperImage = "h:2"\nconst defaultStorageManifest = `'
        "image: ` + storageProvisionerImage + `\nhelper: ` + storageHelperImage + `\n`\n"
    )
    assert storage_manifest(tmp_path) == ("image: p:1\nhelper: h:2\n", {"provisioner": "p:1", "helper": "h:2"})
    source.write_text("package nodeimage\n")
    with pytest.raises(StepError, match="not that of kind"):
        storage_manifest(tmp_path)


def test_a_program_that_hangs_or_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(StepError, match=r"`sleep 9` took longer than 0\.05 s"):
        run(["sleep", "9"], timeout_s=0.05)
    with pytest.raises(StepError, match=r"(?s)exited with 3:.*no such luck"):
        run(["sh", "-c", "echo no such luck >&2; exit 3"], timeout_s=5)
    with pytest.raises(StepError, match="program 'not-there' is not on this machine"):
        run(["not-there"], timeout_s=5)
