"""One cluster, one release and one standing service for all modules here; each test says which values it needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.operator import shadow
from tests.e2e.operator import site as sites
from tests.e2e.operator.copies import Copies
from tests.e2e.operator.life import Life
from tests.e2e.operator.release import Release
from tests.e2e.operator.site import Site

TEST_TIMEOUT_S = 180
_FIGURES: list[str] = []


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with sites.opened() as made:
        yield made
        _FIGURES.extend(made.figures)


@pytest.fixture(scope="session")
def any_release(site: Site) -> Iterator[Release]:
    """The release as the test before left it.

    At first none: where the cluster was there before, what an earlier run left is removed, so that metrics and log
    tell of this run alone.
    """
    made = Release(site)
    made.remove_all_traces()
    yield made
    if site.stays:
        made.remove_all_traces(wait=False)


@pytest.fixture
def release(any_release: Release) -> Release:
    """The operator as most tests need it: for the whole cluster, two pods."""
    any_release.ensure()
    return any_release


@pytest.fixture(scope="session")
def _begun(site: Site, any_release: Release) -> Life:
    any_release.ensure()
    life = Life(site, "shieldx-e2e-operator-standing")
    life.begin()
    return life


@pytest.fixture(scope="session")
def standing(_begun: Life) -> Life:
    """A service with a tenant that is there all the time: what befalls the operator must not befall it."""
    _begun.settle("created")
    assert _begun.buy("00000000-0000-4000-8000-000000000001")[0] == 200
    return _begun


@pytest.fixture(scope="session")
def calm(site: Site, any_release: Release, _begun: Life) -> Life:
    """A whole life that nothing disturbs."""
    any_release.ensure()
    copies = Copies(site, "shieldx-e2e-operator-copies")
    copies.begin()  # first: its second run comes with the next minute
    life = Life(site, "shieldx-e2e-operator-calm")
    life.create()
    copies.hold_a_restore()
    shadow.ask_for_a_service(site, life.namespace)
    shadow.ask_two_questions(site, life.namespace)
    assert life.buy("00000000-0000-4000-8000-000000000002")[0] == 200
    life.update()
    copies.end()
    life.delete()
    life.told = any_release.told(life.namespace)
    return life


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's time is its own: cluster, images and whole lives are made in fixtures, whose waits are all bounded."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S, func_only=True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FIGURES:
        terminalreporter.section("the operator, measured")
        for figure in _FIGURES:
            terminalreporter.line(figure)
