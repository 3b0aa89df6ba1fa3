"""A second cluster, made and removed beside the usual one: what the machine looks like before and after.

One cluster is made for all tests of this module, because it costs a minute; they are the stations of its life.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from dev.cluster import place as places
from dev.cluster.place import Place
from dev.localkube import tools

NAME, LINK = "sxleak", "198.18.251.0/30"
CHECKOUT = Path(__file__).resolve().parents[3]
UP_TIMEOUT_S = 240
# Values that the kernel changes by itself, or that other work on the machine does.
RESTLESS = ("random", "ns_last_pid", "-nr", "-state", "pty", "sched", "perf", "cad_pid", "tainted", "mf_stats", "quota")
# What an engine installed on the machine would have; ours must not make them.
ENGINE_FILES = ("/etc/docker", "/var/lib/docker", "/var/lib/containerd", "/run/docker", "/run/containerd", "/run/netns")


@dataclass(frozen=True)
class Machine:
    """What a cluster could leave behind."""

    processes: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    rules: frozenset[str]
    cgroups: frozenset[str]
    sysctls: frozenset[str]
    files: frozenset[str]


def lines_of(*command: str) -> frozenset[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return frozenset(done.stdout.splitlines())


def processes_of_the_cluster() -> frozenset[str]:
    """By control group and by command line; other work on the machine does not count."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            signs = (folder / "cgroup").read_text() + (folder / "cmdline").read_text(errors="replace")
            if NAME in signs and int(folder.name) != os.getpid():
                found.add(f"{folder.name} {(folder / 'comm').read_text().strip()}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return frozenset(found)


def mounts(other_than: Path) -> frozenset[str]:
    """Without those under ``other_than``: images may be built meanwhile, and that mounts and unmounts."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return frozenset(point for point in points if not Path(point).is_relative_to(other_than))


def sysctls() -> frozenset[str]:
    values = set()
    for part in ("kernel", "vm", "fs", "net/ipv4", "net/ipv6", "net/bridge", "net/netfilter", "net/core"):
        for path in Path("/proc/sys", part).rglob("*"):
            if any(sign in str(path) for sign in RESTLESS) or "/conf/" in str(path) or "/neigh/" in str(path):
                continue
            try:
                values.add(f"{path} {path.read_text(errors='replace').strip()}")
            except OSError:  # a folder, or a switch that is only written
                continue
    return frozenset(values)


def look(place: Place) -> Machine:
    unpacked = tools.find(place.settings.cache)
    assert unpacked is not None, "the usual cluster was made first"
    nft = subprocess.run(
        [unpacked.program("nft"), "list", "tables"],
        env=unpacked.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    processes = processes_of_the_cluster()
    mine = [Path("/proc", line.split()[0], "ns/net") for line in processes]
    return Machine(
        processes=processes,
        mounts=mounts(other_than=place.cache / "images"),
        namespaces=frozenset(str(path.readlink()) for path in mine if path.exists()),
        links=frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        routes=lines_of("ip", "route", "show", "table", "all"),
        rules=frozenset(nft.stdout.splitlines()),
        cgroups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if path.is_dir()),
        sysctls=sysctls(),
        files=frozenset(path for path in ENGINE_FILES if Path(path).exists()),
    )


def front_door(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "SHIELDX_CLUSTER_NAME": NAME, "SHIELDX_CLUSTER_LINK": LINK}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "dev.cluster", *arguments],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(*arguments: str) -> tuple[str, float]:
    """What a command of the front door said, and its seconds."""
    started_s = time.monotonic()
    with front_door(*arguments) as running:
        said, _ = running.communicate(timeout=UP_TIMEOUT_S)
    assert running.returncode == 0, said
    return said, time.monotonic() - started_s


@pytest.fixture(scope="module")
def place(any_cluster: Any) -> Iterator[Place]:
    """Where the second cluster is. The usual one is up first, so that what both share is made and is kept."""
    if not any_cluster.front_door("status").text.startswith("local"):
        pytest.skip("the user's own engine or cluster is in use; nothing is made on this machine")
    patch = pytest.MonkeyPatch()
    patch.setenv("SHIELDX_CLUSTER_NAME", NAME)
    patch.setenv("SHIELDX_CLUSTER_LINK", LINK)
    second = places.from_environment()
    patch.undo()
    yield second
    finished("down")
    shutil.rmtree(second.settings.folder, ignore_errors=True)  # its engine's images, 2 GB
    shutil.rmtree(second.state, ignore_errors=True)


@pytest.fixture(scope="module")
def before(place: Place) -> Machine:
    finished("down")  # a run of this test that was killed
    return look(place)


def test_a_run_killed_half_way_is_cleaned_up_by_the_next(before: Machine, place: Place) -> None:
    assert before.processes == frozenset()
    with front_door("up") as killed:
        for line in killed.stdout or ():
            if "kind create cluster" in line:
                break
        time.sleep(5)  # the node's first processes run
        killed.send_signal(signal.SIGKILL)
    half_made = look(place)
    assert half_made.processes, "the run was killed before it made anything"
    assert half_made.links - before.links == {f"{NAME}-host"}

    said, _ = finished("up")
    assert "removing what an earlier run left" in said
    assert f"export KUBECONFIG={place.kubeconfig}" in said
    nodes, _ = finished("kubectl", "get", "nodes", "--no-headers")
    assert nodes.split()[:2] == [f"{NAME}-control-plane", "Ready"]


def test_a_second_up_reuses_the_cluster_within_two_seconds(before: Machine, place: Place) -> None:
    at_work = look(place)
    assert len(at_work.processes - before.processes) > 10, "what is compared afterwards is seen while it is there"
    assert any(NAME in group for group in at_work.cgroups)
    said, took_s = finished("up")
    assert "is up already" in said
    assert took_s < 2


def test_down_leaves_the_machine_as_it_was(before: Machine, place: Place) -> None:
    finished("down")
    after = look(place)
    for part in fields(Machine):
        was, is_now = getattr(before, part.name), getattr(after, part.name)
        assert is_now == was, f"{part.name}: left {sorted(is_now - was)}, gone {sorted(was - is_now)}"
    assert not place.kubeconfig.exists()
    said, _ = finished("down")
    assert "gone" in said, "a second `down` finds nothing to do and says so"
