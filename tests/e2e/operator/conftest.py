"""One cluster, one release and one standing service for all modules here; each test says which values it needs."""

from collections.abc import Iterator

import pytest

from shieldx_operator.engine.types import Ref
from shieldx_operator.kinds.shadowservice import RESOURCE as SHADOW_SERVICES
from tests.e2e.operator import site as sites
from tests.e2e.operator.life import Life, condition
from tests.e2e.operator.release import Release
from tests.e2e.operator.site import Site, until

_FIGURES: list[str] = []


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with sites.opened() as made:
        yield made
        _FIGURES.extend(made.figures)


@pytest.fixture(scope="session")
def _one_release(site: Site) -> Release:
    """Installed anew where the cluster was there before: its metrics and its log then tell of this run alone."""
    made = Release(site)
    made.remove_all_traces()
    return made


@pytest.fixture
def release(_one_release: Release) -> Release:
    """The operator as most tests need it: for the whole cluster, two pods."""
    _one_release.ensure()
    return _one_release


@pytest.fixture(scope="session")
def standing(site: Site, _one_release: Release) -> Life:
    """A service with a tenant that is there all the time: what befalls the operator must not befall it."""
    _one_release.ensure()
    life = Life(site, "shieldx-e2e-operator-standing")
    life.create()
    assert life.buy("00000000-0000-4000-8000-000000000001")[0] == 200
    return life


@pytest.fixture(scope="session")
def calm(site: Site, _one_release: Release, standing: Life) -> Life:  # noqa: ARG001 - what stands must be there before
    """A whole life that nothing disturbs."""
    _one_release.ensure()
    life = Life(site, "shieldx-e2e-operator-calm")
    life.create()
    lonely = Ref(SHADOW_SERVICES, life.namespace, "lonely")
    site.apply(lonely, spec={"profile": "Development", "creditsRef": {"name": "nobody"}})
    until("a service without what it needs is told of", lambda: condition(site.there(lonely)), 30)
    site.delete(lonely)
    assert life.buy("00000000-0000-4000-8000-000000000002")[0] == 200
    life.update()
    life.delete()
    return life


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FIGURES:
        terminalreporter.section("the operator, measured")
        for figure in _FIGURES:
            terminalreporter.line(figure)
