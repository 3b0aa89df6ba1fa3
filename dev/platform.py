"""The steps that `make up` and the end-to-end tests share: cluster, images, chart, and talking to what runs."""

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_NAMESPACE = "shieldx-system"
RELEASE = "shieldx"
STEP_TIMEOUT_S = 5400
"""Longest step: building the local cluster's programs from source on two cores."""


class PlatformError(RuntimeError):
    """A step did not succeed; the message says which, and what it printed last."""


def run(*command: str, timeout_s: float = 120, stdin: str | None = None) -> str:
    """Output of a command.

    Raises:
        PlatformError: it failed or took longer than `timeout_s`.
    """
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, input=stdin, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PlatformError(f"`{' '.join(command)}` took longer than {timeout_s:.0f} s") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise PlatformError(f"`{' '.join(command)}` ended with {done.returncode}:\n{said}")
    return done.stdout


def shown(*command: str) -> None:
    """Runs a long step whose progress a person wants to see.

    Raises:
        PlatformError: it failed.
    """
    done = subprocess.run(command, cwd=ROOT, timeout=STEP_TIMEOUT_S, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise PlatformError(f"`{' '.join(command)}` ended with {done.returncode}; its last lines above say why")


def kubeconfig() -> str:
    """The file that talks to the cluster of this checkout."""
    line = run("python3", "-m", "dev.cluster", "env")
    found = re.search(r"^export KUBECONFIG=(\S+)$", line, re.MULTILINE)
    if found is None:
        raise PlatformError("no cluster of this checkout; `make cluster` makes one")
    return found.group(1)


def kubectl(*arguments: str, timeout_s: float = 120, stdin: str | None = None) -> str:
    return run("python3", "-m", "dev.cluster", "kubectl", *arguments, timeout_s=timeout_s, stdin=stdin)


def get(resource: str, name: str, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("-n", namespace, "get", resource, name, "-o", "json"))
    return found


def secret_value(name: str, key: str, namespace: str) -> str:
    return base64.b64decode(get("secret", name, namespace)["data"][key]).decode()


def images() -> list[dict[str, str]]:
    """The images of this checkout: name, archive and digest, as `dev.images list` has them."""
    listed: list[dict[str, str]] = json.loads(run("python3", "-m", "dev.images", "list", "--json"))
    return listed


def build_and_load_images() -> None:
    shown("python3", "-m", "dev.images", "build")
    shown("python3", "-m", "dev.cluster", "load", *(image["archive"] for image in images()))


def install_chart(*settings: str) -> None:
    """The operator from its chart, with the images of this checkout, which are in the nodes and nowhere else."""
    digest = next(image["digest"] for image in images() if "/platform:" in image["name"])
    # the tag stays the same from build to build: the annotation is what rolls the pods
    values = ["image.pullPolicy=IfNotPresent", f"podAnnotations.image-digest={digest}", *settings]
    run(
        *("python3", "-m", "dev.tools", "helm", "upgrade", "--install", RELEASE, "charts/shieldx-platform"),
        *("--kubeconfig", kubeconfig(), "--namespace", SYSTEM_NAMESPACE, "--create-namespace"),
        # tests apply CRDs by themselves before there is a release: without this, Helm refuses what it did not make
        *("--take-ownership", "--wait", "--timeout", "3m"),
        *(part for value in values for part in ("--set", value)),
        timeout_s=900,  # the first use builds helm
    )


def ensure_namespace(name: str) -> None:
    """A namespace whose pods must be restricted."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def wait_ready(resource: str, name: str, namespace: str, timeout_s: float) -> float:
    """Seconds until the object's Ready is true for its present generation.

    Raises:
        PlatformError: it was not within `timeout_s`; the message is the condition's own.
    """
    start = time.monotonic()
    message = "it has no status yet"
    while time.monotonic() - start < timeout_s:
        found = get(resource, name, namespace)
        status = found.get("status", {})
        ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), None)
        if ready is not None:
            message = f"{ready['reason']}: {ready['message']}"
            if ready["status"] == "True" and status.get("observedGeneration") == found["metadata"]["generation"]:
                return time.monotonic() - start
        time.sleep(0.25)
    raise PlatformError(f"{resource} {namespace}/{name} is not Ready after {timeout_s:.0f} s: {message}")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as a person wants to see it."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def call(method: str, url: str, key: str, body: dict[str, Any] | None = None, timeout_s: float = 10) -> Answer:
    """One call with a JSON body; error statuses are answers, not exceptions.

    Raises:
        OSError: nobody answered.
    """
    request = urllib.request.Request(  # noqa: S310 - the URL is made here, always http
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - as above
            return Answer(response.status, dict(response.headers), json.loads(response.read() or b"{}"))
    except urllib.error.HTTPError as error:
        return Answer(error.code, dict(error.headers), json.loads(error.read() or b"{}"))


@contextlib.contextmanager
def port_forward(target: str, port: int, namespace: str) -> Iterator[str]:
    """The base URL of `target` (`svc/name`), forwarded to a free port of the loopback.

    Raises:
        PlatformError: the forwarding did not stand within 10 s.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local: int = probe.getsockname()[1]
    process = subprocess.Popen(
        ["python3", "-m", "dev.cluster", "kubectl", "-n", namespace, "port-forward", target, f"{local}:{port}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ,
        text=True,
    )
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if process.poll() is not None:
                said = process.stderr.read() if process.stderr else ""
                raise PlatformError(f"port-forward to {target} ended: {said.strip()}")
            try:
                socket.create_connection(("127.0.0.1", local), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise PlatformError(f"port-forward to {target} does not stand after 10 s")
        yield f"http://127.0.0.1:{local}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        if process.stderr:
            process.stderr.close()
