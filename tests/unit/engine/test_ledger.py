from shieldx_operator.engine.ledger import WatchLedger

PATH = "/apis/g/v1/widgets"


def ledger() -> WatchLedger:
    made = WatchLedger(server_timeout_s=240, started_s=0)
    made.expect([PATH])
    return made


def test_a_watch_that_is_answered_is_alive() -> None:
    watch = ledger()
    watch.answered(PATH, 200, 1)
    assert watch.problems(240) == {}


def test_a_refused_watch_is_dead_after_a_moment_though_it_goes_on_trying() -> None:
    watch = ledger()
    watch.answered(PATH, 200, 0)
    for second in range(100, 120):
        watch.answered(PATH, 403, second)
    assert watch.problems(105) == {}
    assert watch.problems(119) == {PATH: "refused with HTTP 403 for 19 s"}


def test_a_watch_that_is_answered_again_is_alive_again() -> None:
    watch = ledger()
    watch.answered(PATH, 403, 0)
    watch.answered(PATH, 200, 60)
    assert watch.problems(61) == {}


def test_a_silent_watch_is_dead() -> None:
    watch = ledger()
    watch.answered(PATH, 200, 0)
    assert watch.problems(360) == {}
    assert watch.problems(361) == {PATH: "no answer for 361 s"}


def test_a_watch_that_was_never_opened_is_dead() -> None:
    assert ledger().problems(44) == {}
    assert "is its CRD installed?" in ledger().problems(46)[PATH]


def test_a_server_that_is_away_does_not_make_the_watch_a_dead_one() -> None:
    watch = ledger()
    for second in range(0, 1000, 10):
        watch.unreachable(PATH, second)
    assert watch.problems(1000) == {}


def test_an_expired_version_is_no_refusal() -> None:
    watch = ledger()
    watch.answered(PATH, 410, 0)
    assert watch.problems(30) == {}


def test_when_the_watcher_ends_every_watch_is_dead() -> None:
    watch = ledger()
    watch.answered(PATH, 200, 1)
    watch.dead = "kopf ended"
    assert watch.problems(1) == {PATH: "kopf ended"}


def test_an_open_watch_that_tells_nothing_is_dead() -> None:
    watch = ledger()
    watch.answered(PATH, 200, 1)
    watch.deaf[PATH] = "did not tell of a change"
    assert watch.problems(1) == {PATH: "did not tell of a change"}


def test_answers_to_other_paths_do_not_count() -> None:
    watch = ledger()
    watch.answered("/api", 200, 10)
    assert PATH in watch.problems(46)
