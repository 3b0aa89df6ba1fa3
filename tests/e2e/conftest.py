"""What all end-to-end tests share: one cluster with the platform of this checkout installed in it."""

import os
from pathlib import Path

import pytest

from dev import platform

AS_INSTALLED = "SHIELDX_E2E_AS_INSTALLED"
"""Set: the tests take the platform that is in the cluster, and build, load and install nothing."""


@pytest.fixture(scope="session")
def installed() -> str:
    """The kubeconfig of a cluster that holds this checkout's images and its operator, installed by its chart."""
    if not os.environ.get(AS_INSTALLED):
        platform.shown("python3", "-m", "dev.cluster", "up")
        platform.build_and_load_images()
        platform.install_chart()
    return platform.kubeconfig()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time that a test may take is its own: the first one waits for images that are built and a cluster made."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300, func_only=True))
