"""The outbox keeps the order, gives up nothing untried, and repeats nothing that has not arrived."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from inboxes import Inbox, Watch, finding, watching

from monitors.dispatch import dispatch
from monitors.engine import AlertEngine
from monitors.grouping import Subscription
from monitors.outbox import Failure

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
DOWN = Failure("down")

Pair = tuple[Watch, Inbox, Inbox]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two receivers of everything."""
    one, other = Inbox("one"), Inbox("other")
    with watching(tmp_path, one, other) as made:
        yield made, one, other


def test_notifications_of_a_group_arrive_in_their_order(pair: Pair) -> None:
    watch, one, _ = pair
    one.failures = [DOWN] * 3
    for found in (True, False, True, True, True, True, True):
        watch.run(*([finding()] if found else []))
    assert [reason for reason, _ in one.told] == ["new", "resolved", "new"]


def test_one_that_is_refused_does_not_hold_up_other_groups(pair: Pair) -> None:
    watch, one, _ = pair
    one.failures = [Failure("answered 400", unavailable=False)]
    watch.run(finding("a"), finding("b"))
    assert [rules for _, rules in one.told] == [["b"]]
    watch.run(finding("a"), finding("b"))
    assert [rules for _, rules in one.told] == [["b"], ["a"]]


def test_one_that_is_refused_holds_up_what_follows_in_its_group(pair: Pair) -> None:
    watch, one, _ = pair
    one.failures = [Failure("answered 400", unavailable=False, retry_after=5 * MINUTE)]
    watch.run(finding())
    watch.run()
    assert one.told == [], "nobody is told that something is over that they never heard of"
    for _ in range(5):
        watch.run()
    assert [reason for reason, _ in one.told] == ["new", "resolved"]


def test_a_dead_receiver_is_an_alert_that_the_others_deliver_and_not_it(pair: Pair) -> None:
    watch, dead, other = pair
    dead.failures = [DOWN] * 1000
    for _ in range(60):
        watch.run(finding())
    assert [rules for _, rules in other.told] == [["stale_feed"], ["receiver_failing"]]
    alert = other.taken[-1].content["alerts"][0]
    assert alert["labels"] == {"exchange": "LAKE", "receiver": "one"}
    assert alert["starts_at"] == "2026-11-25T04:10:00.000Z"
    dead.failures = []
    for _ in range(10):
        watch.run(finding())
    assert other.told[-1] == ("resolved", ["receiver_failing"])
    assert [rules for _, rules in dead.told] == [["stale_feed"]]


def test_what_has_not_arrived_is_not_repeated_and_the_repeat_counts_from_its_arrival(pair: Pair) -> None:
    watch, one, _ = pair
    one.failures = [DOWN] * 60
    taken_at: list[datetime] = []
    for _ in range(11 * 60):
        watch.run(finding())
        taken_at += [watch.now] * (len(one.taken) - len(taken_at))
    assert [reason for reason, _ in one.told][:2] == ["new", "repeat"]
    assert all(later - earlier >= 4 * HOUR for earlier, later in itertools.pairwise(taken_at))


def test_what_still_fires_is_told_afresh_after_a_notification_was_given_up(pair: Pair) -> None:
    watch, dead, other = pair
    dead.failures = [DOWN] * 100_000
    for _ in range(26 * 12):
        watch.run(finding())
        watch.now += 4 * MINUTE
    status, _ = watch.outbox.statuses(watch.now)
    assert (status.given_up, status.queued) == (1, 1)
    dead.failures = []
    for _ in range(2):
        watch.run(finding())
        watch.now += 5 * MINUTE
    assert dead.told == [("new", ["stale_feed"])]
    assert ("resolved", ["notification_given_up"]) in other.told


def test_nothing_is_given_up_untried_after_the_machine_was_off(pair: Pair) -> None:
    watch, one, _ = pair
    watch.check(finding())
    watch.now += timedelta(days=3)
    watch.deliver()
    assert one.told == [("new", ["stale_feed"])]


def test_what_waits_for_a_receiver_that_is_no_more_is_given_up_and_told_of(pair: Pair) -> None:
    watch, dead, other = pair
    dead.failures = [DOWN]
    watch.run(finding())
    watch.engine = AlertEngine(watch.store, [Subscription("other")])
    watch.boxes = [other]
    watch.run(finding())
    assert [rules for _, rules in other.told] == [["stale_feed"], ["notification_given_up"]]


def test_many_dispatches_at_once_send_each_once(pair: Pair) -> None:
    watch, _, _ = pair
    for minute in range(20):
        watch.check(*([finding()] if minute % 2 == 0 else []), finding(f"r{minute}"))
        watch.now += MINUTE
    boxes = [Inbox("one") for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda box: dispatch(watch.store.path, [box], clock=lambda: watch.now), boxes))
    keys = [notification.key for box in boxes for notification in box.taken]
    queued = watch.store.rows("SELECT COUNT(*) FROM outbox WHERE receiver = 'one'")
    assert queued == [(len(keys),)]
    assert len(keys) == len(set(keys)) > 20


def test_a_test_notification_goes_to_its_receiver_and_changes_no_alert(pair: Pair) -> None:
    watch, one, other = pair
    watch.engine.enqueue_test(watch.now, "one")
    watch.deliver()
    assert [rules for _, rules in one.told] == [["receiver_test"]]
    assert (other.taken, watch.engine.alerts()) == ([], [])
