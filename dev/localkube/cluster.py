"""kind in the sandbox: prepare what it needs, create the cluster, take all of it away again."""

import json
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dev.localkube import binaries, engine, machine, nodeimage, sandbox, tools
from dev.localkube.process import StepError, run
from dev.localkube.settings import API_SERVER_PORT, POD_NETWORK, SERVICE_NETWORK, Settings
from dev.localkube.tools import Say

CREATE_TIMEOUT_S = 300
ROLLOUT_TIMEOUT_S = 120
MANIFESTS = Path(__file__).with_name("manifests")


class LocalKind:
    """One kind cluster on this machine's own engine."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings, self._say = settings, say
        self._prepared: tuple[tools.Tools, binaries.Binaries] | None = None

    def networking(self) -> dict[str, object]:
        """The ``networking`` part of kind's configuration."""
        return {
            "disableDefaultCNI": True,
            "ipFamily": "ipv4",
            "podSubnet": str(POD_NETWORK),
            "serviceSubnet": str(SERVICE_NETWORK),
            "apiServerAddress": self.settings.engine_address,
            "apiServerPort": API_SERVER_PORT,
        }

    def create(self, kind_config: str, kubeconfig: Path) -> None:
        """Make everything, up to a node that is Ready.

        Raises:
            StepError: a step failed; ``delete`` removes what there is.
        """
        machine.require()
        machine.require_room(self.settings.cache)
        kit, programs = self._prepare()
        machine.require_nftables(kit.environment())
        image = nodeimage.prepare(self.settings.cache, kit, programs, binaries.kind_sources(self._say), self._say)
        self._say("container engine: starting in its own namespaces")
        docker = engine.start(self.settings, kit)
        docker.clear()
        if docker.import_node_image(image):
            self._say("container engine: node image imported (once)")
        self._say("kind create cluster")
        config = self.settings.folder / "kind.yaml"
        config.write_text(kind_config)
        kind = [str(programs["kind"]), "create", "cluster", f"--name={self.settings.name}"]
        docker.run(
            *kind,
            f"--image={self.settings.node_image}",
            f"--config={config}",
            "--wait=0s",
            "--retain",
            timeout_s=CREATE_TIMEOUT_S,
            env={"KUBECONFIG": str(kubeconfig)},
        )
        kubectl = self.settings.folder / "kubectl"
        kubectl.unlink(missing_ok=True)
        kubectl.symlink_to(programs["localkube"])
        self._connect(kubeconfig)

    def delete(self) -> None:
        """Remove the cluster, its engine and its sandbox. The engine's images stay for the next run.

        Raises:
            StepError: a part does not go; the message names it.
        """
        kit = tools.find(self.settings.cache)
        docker = engine.find(self.settings, kit) if kit else None
        if docker is not None:
            with suppress(StepError):  # an engine that hangs is killed; the next run clears what it leaves on the disk
                docker.clear()
        sandbox.remove(self.settings)

    def purge(self) -> None:
        """Remove this cluster's folder, and what clusters share (packages, programs, node image) where none runs."""
        shutil.rmtree(self.settings.folder, ignore_errors=True)
        if not any(sandbox.find(other) for other in self._other_clusters()):
            shutil.rmtree(self.settings.cache, ignore_errors=True)

    def _other_clusters(self) -> list[Settings]:
        folders = (self.settings.cache / "clusters").glob("*/")
        return [replace(self.settings, name=folder.name) for folder in folders if folder != self.settings.folder]

    def kubectl(self) -> list[str]:
        """The kubectl that is part of the cluster; by the link that ``create`` made, as this is called often."""
        link = self.settings.folder / "kubectl"
        return [str(link)] if link.exists() else [str(self._prepare()[1]["localkube"]), "kubectl"]

    def node_command(self, *argv: str) -> list[str]:
        """The command line that runs ``argv`` in the node, its standard input passed on.

        Raises:
            StepError: the cluster is not up.
        """
        kit = tools.find(self.settings.cache)
        docker = engine.find(self.settings, kit) if kit else None
        if docker is None:
            raise StepError(f"cluster {self.settings.name} is not up: run `make cluster`")
        return docker.docker_command("exec", "--interactive", self.settings.node, *argv)

    def _prepare(self) -> tuple[tools.Tools, binaries.Binaries]:
        if self._prepared is None:
            kit = tools.prepare(self.settings.cache, self._say)
            self._prepared = (kit, binaries.prepare(self.settings.cache, self._say))
        return self._prepared

    def _connect(self, kubeconfig: Path) -> None:
        """Pods' network and policies, after kube-proxy.

        A pod that dials a service before kube-proxy's rules exist leaves a connection entry without translation, and
        hangs for its 30 s dial timeout.
        """
        kubectl = [*self.kubectl(), f"--kubeconfig={kubeconfig}"]
        proxy = ["--namespace=kube-system", "rollout", "status", "daemonset/kube-proxy"]
        run([*kubectl, *proxy, f"--timeout={ROLLOUT_TIMEOUT_S}s"], timeout_s=ROLLOUT_TIMEOUT_S + 10)
        self._say("kube-proxy is up; pod network and policies")
        pod_network = run([*kubectl, "get", "nodes", "-o", "jsonpath={.items[0].spec.podCIDR}"], timeout_s=20).stdout
        tee = self.node_command("tee", "/etc/cni/net.d/10-bridge.conflist")
        run(tee, timeout_s=20, stdin_text=cni_config(pod_network))
        run([*kubectl, "apply", f"--filename={MANIFESTS / 'netpol.yaml'}"], timeout_s=30)
        dns = ["--namespace=kube-system", "get", "configmap", "coredns", "--output=json"]
        config = json.loads(run([*kubectl, *dns], timeout_s=20).stdout)
        config["data"]["Corefile"] = without_forwarding(config["data"]["Corefile"])
        run([*kubectl, "replace", "--filename=-"], timeout_s=20, stdin_text=json.dumps(config))
        ready = ["wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={ROLLOUT_TIMEOUT_S}s"]
        run([*kubectl, *ready], timeout_s=ROLLOUT_TIMEOUT_S + 10)


def without_forwarding(corefile: str) -> str:
    """CoreDNS without a way to names outside the cluster: there is none, and each question would take 5 s to fail."""
    return re.sub(r"^ *(forward [^{]*\{[^}]*\}|loop)\n", "", corefile, flags=re.MULTILINE)


def cni_config(pod_network: str) -> str:
    """A bridge with an address for each pod out of ``pod_network``, and host ports. Nothing is masqueraded."""
    bridge = {
        "type": "bridge",
        "bridge": "pods0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pod_network}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]})
