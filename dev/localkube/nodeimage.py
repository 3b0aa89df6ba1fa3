"""kind's node image, made from Debian packages, kind's own files and the cluster's programs; no registry is asked.

The image is one tar file in the cache. The images that kubeadm and kind expect are put into the node's containerd
beforehand, under the names that they ask for.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.localkube import ociimage
from dev.localkube.binaries import Binaries
from dev.localkube.ociimage import Image, Layer
from dev.localkube.process import StepError, run, wait_until
from dev.localkube.settings import KUBERNETES_VERSION
from dev.localkube.tools import Say, Tools

NODE_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "containerd", "runc", "containernetworking-plugins"),
    *("conntrack", "iptables", "nftables", "iproute2", "ethtool", "kmod", "procps", "mount"),
    *("jq", "curl", "pigz", "ca-certificates", "busybox-static"),
)
METRICS_SERVER_IMAGE = "registry.k8s.io/metrics-server/metrics-server:v0.7.2"
BUSYBOX_IMAGE = "docker.io/library/busybox:1.35"
NETPOL_IMAGE = "localhost/shieldx-netpol:1"
# A small shell for tests and the storage helper.
BUSYBOX_APPLETS = ("sh", "cat", "echo", "grep", "httpd", "id", "kill", "ls", "mkdir", "nc", "nslookup", "rm", "seq")
BUSYBOX_APPLETS_USR = ("head", "sleep", "tail", "timeout", "touch", "wget", "yes")
KUBEADM_PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")

# What the kubelet wants of the kernel. Shown to it by mounts over /proc/sys, so that the machine's values stay.
KUBELET_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
BOOTSTRAP_TIMEOUT_S = 600


def prepare(cache: Path, tools: Tools, binaries: Binaries, kind_module: Path, say: Say) -> Path:
    """The node image as a tar file of its whole file system, made once for each set of inputs.

    Raises:
        StepError: the packages could not be had, or a step of the making failed.
    """
    digest = _digest(tools, binaries)
    tar = cache / "node" / f"{digest}.tar"
    if tar.exists():
        return tar
    work = tar.with_name(f"{digest}.{os.getpid()}.partial")  # of this process: a killed run's children may still write
    work.mkdir(parents=True)
    root = work / "rootfs"
    say(f"node image: bootstrapping Debian with {len(NODE_PACKAGES)} packages")
    _bootstrap(root, tools)
    say("node image: adding kind's files, the programs and the component images")
    _add_kind_files(root, kind_module / "images/base/files")
    _add_programs(root, binaries)
    _configure_containerd(root)
    _configure_kubelet(root)
    _settle_units(root)
    manifest, storage_images = storage_manifest(kind_module)
    _write(root / "kind/manifests/default-storage.yaml", manifest)
    images = component_images(binaries, root, storage_images)
    ociimage.write(images, work / "images.tar", platform.machine())
    _preload(root, work / "images.tar", tools)
    run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(work / "node.tar"), "."], timeout_s=300)
    (work / "node.tar").rename(tar)
    for other in tar.parent.iterdir():  # earlier images, and what killed runs left
        if other != tar:
            shutil.rmtree(other, ignore_errors=True) if other.is_dir() else other.unlink()
    return tar


def _digest(tools: Tools, binaries: Binaries) -> str:
    digest = hashlib.sha256("\n".join([binaries.digest, *tools.sources]).encode())
    for module in (Path(__file__), Path(ociimage.__file__)):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def _bootstrap(root: Path, tools: Tools) -> None:
    argv = [
        *("perl", tools.program("mmdebstrap"), "--quiet", "--mode=root", "--variant=minbase", "--format=directory"),
        f"--include={','.join(NODE_PACKAGES)}",
        *("--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"),
        *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=force-unsafe-io"),
        *("", str(root), *tools.sources),
    ]
    # Without LD_LIBRARY_PATH: it would reach into the chroot, where the libraries are others.
    environment = {name: value for name, value in tools.environment().items() if name != "LD_LIBRARY_PATH"}
    run(argv, timeout_s=BOOTSTRAP_TIMEOUT_S, env=environment)


def _add_kind_files(root: Path, files: Path) -> None:
    for folder in ("usr", "kind", "etc"):
        # copyfile: contents without modes, because files of the module cache are read only
        shutil.copytree(files / folder, root / folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for folder in ("usr/local/bin", "kind/bin"):
        for program in (root / folder).iterdir():
            program.chmod(0o755)
    for made in (path for part in ("usr", "kind", "etc") for path in (files / part).rglob("*") if path.is_dir()):
        (root / made.relative_to(files)).chmod(0o755)
    _write(root / "kind/version", KUBERNETES_VERSION)


def _add_programs(root: Path, binaries: Binaries) -> None:
    shutil.copy(binaries["localkube"], root / "usr/bin/localkube")
    for name in ("kubeadm", "kubelet", "kubectl"):
        (root / "usr/bin" / name).symlink_to("localkube")
    for name in ("containerd", "ctr", "containerd-shim-runc-v2"):  # kind's units name these paths
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{name}")
    shutil.copytree(root / "usr/lib/cni", root / "opt/cni/bin", dirs_exist_ok=True)
    (root / "etc/kubernetes/manifests").mkdir(parents=True, exist_ok=True)


def _configure_containerd(root: Path) -> None:
    path = root / "etc/containerd/config.toml"
    text = path.read_text()
    text = re.sub(r".*base_runtime_spec.*\n", "", text)  # made with a newer containerd, and only hides product files
    text = text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")  # without CAP_SYS_RESOURCE
    text += '\n[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/opt/cni/bin"\n  conf_dir = "/etc/cni/net.d"\n'
    _write(path, text)


def _configure_kubelet(root: Path) -> None:
    lines = ["[Service]"]
    for key, value in KUBELET_SYSCTLS.items():
        _write(root / "kind/sysctl" / key.replace("/", "_"), f"{value}\n")
        source, target = f"/kind/sysctl/{key.replace('/', '_')}", f"/proc/sys/{key}"
        lines.append(f"ExecStartPre=/bin/sh -c 'mountpoint -q {target} || mount --bind {source} {target}'")
    _write(root / "etc/systemd/system/kubelet.service.d/20-sysctls.conf", "\n".join(lines) + "\n")


def _settle_units(root: Path) -> None:
    """As kind's Dockerfile does: no unit starts that belongs to a machine and not to a container."""
    units = root / "lib/systemd/system"
    for pattern in (
        *("multi-user.target.wants/*", "local-fs.target.wants/*", "basic.target.wants/*"),
        *("sockets.target.wants/*udev*", "sockets.target.wants/*initctl*"),
        "sysinit.target.wants/systemd-tmpfiles-setup.service",
    ):
        for unit in units.glob(pattern):
            unit.unlink()
    for unit in (root / "etc/systemd/system").glob("*.wants/*"):
        unit.unlink()
    for values in (root / "usr/lib/sysctl.d").glob("*.conf"):  # Debian's for a machine; they are not a network's own
        values.unlink()
    with (root / "etc/systemd/journald.conf").open("a") as journald:
        journald.write("ReadKMsg=no\n")
    enabled = ("kubelet.service", "containerd.service", "undo-mount-hacks.service")
    run(["chroot", str(root), "systemctl", "enable", *enabled], timeout_s=30)
    run(["chroot", str(root), "systemctl", "mask", "systemd-binfmt.service"], timeout_s=30)


def storage_manifest(kind_module: Path) -> tuple[str, dict[str, str]]:
    """The default storage manifest of kind and its two images by role, out of kind's own source.

    Raises:
        StepError: the source no longer looks as it did in v0.30.0.
    """
    source = (kind_module / "pkg/build/nodeimage/const_storage.go").read_text()
    images = dict(re.findall(r'const (storage\w+Image) = "([^"]+)"', source))
    body = re.search(r"const defaultStorageManifest = `(.*)`", source, re.DOTALL)
    if body is None or set(images) != {"storageProvisionerImage", "storageHelperImage"}:
        raise StepError(f"{kind_module}: const_storage.go is not that of kind v0.30.0; adapt storage_manifest() to it")
    manifest = re.sub(r"` \+ (\w+) \+ `", lambda match: images[match[1]], body[1])
    roles = {"provisioner": images["storageProvisionerImage"], "helper": images["storageHelperImage"]}
    return manifest, roles


def component_images(binaries: Binaries, root: Path, storage: dict[str, str]) -> list[Image]:
    """The images that a kubeadm cluster of kind starts, each under the names it is asked for."""
    listing = [str(binaries["localkube"]), "kubeadm", "config", "images", "list"]
    wanted = run([*listing, "--kubernetes-version", KUBERNETES_VERSION], timeout_s=30).stdout.split()
    names = {name.rsplit("/", 1)[-1].split(":")[0]: name for name in wanted}

    localkube = Layer(
        {"usr/local/bin/localkube": binaries["localkube"]},
        {f"usr/local/bin/{part}": "localkube" for part in (*KUBEADM_PARTS, "kube-proxy")},
    )
    firewall = _firewall_layer(root)
    netpol = Layer({"usr/local/bin/netpol": binaries["netpol"]})
    busybox = Layer(
        {"bin/busybox": root / "bin/busybox"},
        {
            **{f"bin/{name}": "busybox" for name in BUSYBOX_APPLETS},
            **{f"usr/bin/{name}": "../../bin/busybox" for name in BUSYBOX_APPLETS_USR},
        },
    )

    def single(name: str, *image_names: str) -> Image:
        return Image(image_names, (Layer({f"usr/bin/{name}": binaries[name]}),), (f"/usr/bin/{name}",))

    return [
        Image(tuple(names[part] for part in KUBEADM_PARTS), (localkube,)),
        Image((names["kube-proxy"],), (localkube, firewall)),
        Image((NETPOL_IMAGE,), (firewall, netpol), ("/usr/local/bin/netpol",)),
        single("coredns", names["coredns"]),
        single("pause", names["pause"], "registry.k8s.io/pause:3.10"),
        single("metrics-server", METRICS_SERVER_IMAGE),
        single("local-path-provisioner", storage["provisioner"]),
        Image((storage["helper"], BUSYBOX_IMAGE), (busybox,), ()),
    ]


def _firewall_layer(root: Path) -> Layer:
    """The nft variant of iptables, and nft, with the libraries that they load, out of the node's own file system."""
    programs = ["/usr/sbin/xtables-nft-multi", "/usr/sbin/nft"]
    extensions = [f"/{path.relative_to(root)}" for path in (root / "usr/lib").glob("*/xtables/*.so")]
    linked = run(["chroot", str(root), "ldd", *programs, *extensions], timeout_s=30).stdout
    libraries = sorted(set(re.findall(r"(/\S+\.so\S*) \(0x", linked)))
    files = {path.lstrip("/"): (root / path.lstrip("/")) for path in (*programs, *extensions, *libraries)}
    names = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
    return Layer(files, {f"usr/sbin/{name}": "xtables-nft-multi" for name in names})


@contextmanager
def _containerd(root: Path, tools: Tools) -> Iterator[list[str]]:
    """A containerd that writes into the node's file system; yields the ``ctr`` command that talks to it."""
    state = root.parent / "containerd"
    state.mkdir()
    socket = state / "containerd.sock"
    config = state / "config.toml"
    disabled = '["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]'
    config.write_text(
        f'version = 2\nroot = "{root}/var/lib/containerd"\nstate = "{state}/state"\ndisabled_plugins = {disabled}\n'
        f'[grpc]\n  address = "{socket}"\n[ttrpc]\n  address = "{socket}.ttrpc"\n'
    )
    environment = tools.environment()
    # pdeathsig: it ends with us, even where we are killed
    argv = ["setpriv", "--pdeathsig=KILL", tools.program("containerd"), "--config", str(config)]
    with (state / "log").open("w") as log:
        daemon = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(
            "the temporary containerd's socket",
            socket.exists,
            timeout_s=20,
            explain=lambda: f"Its log ends with:\n{(state / 'log').read_text()[-800:]}",
        )
        yield [tools.program("ctr"), "--address", str(socket), "--namespace", "k8s.io"]
    finally:
        daemon.terminate()
        daemon.wait(timeout=20)
        shutil.rmtree(state, ignore_errors=True)


def _preload(root: Path, archive: Path, tools: Tools) -> None:
    shutil.rmtree(root / "var/lib/containerd", ignore_errors=True)
    (root / "var/lib/containerd").mkdir(parents=True)
    with _containerd(root, tools) as ctr:
        run([*ctr, "images", "import", "--no-unpack", str(archive)], timeout_s=120, env=tools.environment())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.chmod(0o644)
    path.write_text(text)
    os.chown(path, 0, 0)
