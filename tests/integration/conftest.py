from collections.abc import Iterator

import pytest

from tests.integration.harness import Api, Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One running service for all tests that do not break it; they keep apart by their tenants."""
    with running_stack(tmp_path_factory.mktemp("stack")) as made:
        yield made


@pytest.fixture(scope="session")
def api(stack: Stack) -> Api:
    """A client with the administrator's key."""
    return stack.api


@pytest.fixture(scope="session")
def replica(stack: Stack) -> Iterator[Api]:
    """A client of another process of the same service."""
    with stack.client_of_a_replica() as client:
        yield client
