"""Locks: one process at a time."""

from __future__ import annotations

from threading import Thread

from embexp.locks import alone_with


def test_two_do_not_make_the_same_at_the_same_time_and_the_one_that_waits_says_so(tmp_path, caplog):
    caplog.set_level("INFO", "embexp")
    order = []

    def second() -> None:
        with alone_with(tmp_path / "key", waiting="b waits"):
            order.append("second")

    with alone_with(tmp_path / "key", waiting="a waits"):
        other = Thread(target=second)
        other.start()
        other.join(0.3)
        assert caplog.messages == ["b waits"]
        order.append("first")
    other.join(5)
    assert order == ["first", "second"]
    assert not list(tmp_path.iterdir())
