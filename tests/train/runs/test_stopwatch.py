from skyclone.train.runs.stopwatch import Stopwatch


def test_stopwatch() -> None:
    clock = Stopwatch({"loading": 3.0})
    with clock.measure("saving"):
        pass
    assert list(clock.waiting("loading", [1, 2])) == [1, 2]
    assert clock.seconds["loading"] > 3.0
    assert clock.line() == "loading 3.0 s (100%), saving 0.0 s (0%)"
