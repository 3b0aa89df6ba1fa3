import json
from pathlib import Path

from dev.cluster import kindconfig


def test_the_autoscaler_looks_every_five_seconds_and_nothing_is_elected() -> None:
    patches = {
        patch["kind"]: patch for patch in map(json.loads, json.loads(kindconfig.render())["kubeadmConfigPatches"])
    }
    arguments = patches["ClusterConfiguration"]["controllerManager"]["extraArgs"]
    assert arguments == {"leader-elect": "false", "horizontal-pod-autoscaler-sync-period": "5s"}
    assert patches["ClusterConfiguration"]["scheduler"]["extraArgs"]["leader-elect"] == "false"


def test_the_networking_of_the_second_half_is_taken_over_and_absent_otherwise() -> None:
    assert "networking" not in json.loads(kindconfig.render())
    assert json.loads(kindconfig.render({"ipFamily": "ipv4"}))["networking"] == {"ipFamily": "ipv4"}


def test_the_control_plane_asks_for_half_of_what_kubeadm_gives_it() -> None:
    document = json.loads(kindconfig.render())
    mount = document["nodes"][0]["extraMounts"][0]
    requests_milli_cpu = 0
    for patch in Path(mount["hostPath"]).glob("*+strategic.json"):
        container = json.loads(patch.read_text())["spec"]["containers"][0]
        assert patch.name.startswith(container["name"])
        requests_milli_cpu += int(container["resources"]["requests"]["cpu"].removesuffix("m"))
    assert requests_milli_cpu <= 650 / 2
