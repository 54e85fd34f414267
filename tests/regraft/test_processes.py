"""What `regraft serve` does with a part that keeps ending."""

from regraft import processes
from regraft.processes import FIRST_PAUSE_S, LONGEST_PAUSE_S, _Restart


def pauses(restart, count):
    for _ in range(count):
        restart.plan()
        yield restart.pause_s
        restart.begun()


def test_pauses_grow_to_a_bound_and_begin_anew_after_a_steady_time(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(processes, "monotonic", lambda: now)
    restart = _Restart()
    found = list(pauses(restart, 8))
    assert found[:4] == [FIRST_PAUSE_S * 2**n for n in range(4)]
    assert found[-1] == LONGEST_PAUSE_S
    now += 3600
    assert list(pauses(restart, 1)) == [FIRST_PAUSE_S]
