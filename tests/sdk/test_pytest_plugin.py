"""The pytest plugin: `tracked`, plan violations, plan coverage, alone and under pytest-xdist."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from desirepath import Plan, Tracker
from desirepath._pipeline import Pipeline
from desirepath.testing import Tracked, _tap
from desirepath.testing._coverage import PlanCoverage

pytest_plugins = ["pytester"]

PLAN = """
plan: shop
version: 1.0.0
traits: {country: string, age: integer}
events:
  Page Viewed: {unplanned_properties: accept, properties: {path: string}}
  Order Completed: {properties: {order_id: {type: string, required: true}, total: number}}
  Product Viewed: {properties: {product_id: string}}
  Survey Answered: {status: planned, properties: {score: integer}}
  Old Event: {status: deprecated, properties: {a: string, b: string}}
"""


class OrderCompleted:
    """As `plan codegen` writes it."""

    __event__ = "Order Completed"

    def to_properties(self) -> dict[str, Any]:
        return {"order_id": "A1", "total": 42.5}


@pytest.fixture
def plan() -> Plan:
    return Plan.parse(PLAN)


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a plan and a module that makes its tracker when it is imported."""
    pytester.makefile(".yaml", plan=PLAN)
    pytester.makepyfile(
        shop="""
        from desirepath import Tracker
        tracker = Tracker("http://127.0.0.1:9", plan="plan.yaml", queue_dir="queue")

        def buy(**properties):
            tracker.track("Order Completed", properties, user_id="u1")
        """
    )
    pytester.makeini("[pytest]\npythonpath = .\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


# -- the fixture ---------------------------------------------------------------------------------


def test_events_of_any_tracker_are_captured(tracked: Tracked, tmp_path: Path) -> None:
    """Without disk or network, in any thread, also where the app flushes and closes."""
    with Tracker("http://127.0.0.1:9", queue_dir=tmp_path / "queue") as tracker:
        tracker.track("A", {"n": 1})
        tracker.page("Home", {"path": "/"})
        tracker.screen("Start")
        tracker.identify("u1", {"country": "SE"})
        tracker.group("g1", {"name": "ACME"})
        tracker.alias("old", "u1")
        thread = threading.Thread(target=tracker.track, args=("In A Thread",))
        thread.start()
        thread.join()
        assert tracker.flush()
        assert tracker.stats().queued == 0
    assert tracked.names == [
        "A", "Page Viewed", "Screen Viewed", "identify", "group", "alias", "In A Thread",
    ]  # fmt: skip
    assert not (tmp_path / "queue").exists()
    assert tracked.only("identify", {"country": "SE"}).user_id == "u1"
    assert tracked.only("group").message["groupId"] == "g1"
    assert "7 events" in repr(tracked)


async def test_aflush_has_nothing_to_wait_for(tracked: Tracked) -> None:
    tracker = Tracker("http://127.0.0.1:9", queue="memory")
    tracker.track("A")
    assert await tracker.aflush()
    tracker.close()
    assert tracked.only("A").anonymous_id == "this-installation"


def test_context_and_ids_are_on_the_events(tracked: Tracked) -> None:
    tracker = Tracker(queue="memory")
    with tracker.context(user_id="u1", session_id="s1", locale="sv"):
        tracker.track("A", anonymous_id="a1")
    event = tracked.only("A", user_id="u1", anonymous_id="a1")
    assert event.session_id == "s1"
    assert event.context["locale"] == "sv"


def test_events_are_found_by_what_they_are(tracked: Tracked) -> None:
    """Values compare as they are sent."""
    tracker = Tracker(queue="memory")
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    tracker.track("A", {"at": moment, "price": Decimal("1.50"), "n": 1}, user_id="u1")
    tracker.track("A", {"n": 2}, user_id="u2")
    tracker.track(OrderCompleted())
    assert len(tracked.events()) == 3
    assert len(tracked.events("A")) == 2
    assert len(tracked.events(user_id="u2")) == 1
    assert tracked.only("A", {"n": 2}).user_id == "u2"
    tracked.only("A", {"at": moment, "price": Decimal("1.50")}, user_id="u1")
    tracked.only(OrderCompleted, {"total": pytest.approx(42.5)})
    tracked.none("B")
    tracked.none("A", {"n": 3})
    tracked.clear()
    assert tracked.events() == []


def test_the_messages_help(tracked: Tracked) -> None:
    """They say what there is, what is near, and what is different."""
    tracker = Tracker(queue="memory")
    with pytest.raises(AssertionError, match="was not tracked, nor was anything else"):
        tracked.only("A")
    tracker.track("Order Completed", {"order_id": "A1", "total": 42.5}, user_id="u1")
    with pytest.raises(AssertionError, match="did you mean 'Order Completed'") as absent:
        tracked.only("Order Complete")
    assert "1. Order Completed {'order_id': 'A1', 'total': 42.5} by user u1" in str(absent.value)
    wrong = {"order_id": "A2", "totals": 1, "coupon": object()}
    with pytest.raises(AssertionError) as otherwise:
        tracked.only("Order Completed", wrong, user_id="u2", anonymous_id="a")
    text = str(otherwise.value)
    assert "order_id: expected 'A2', found 'A1'" in text
    assert "totals: expected 1, but it has none (there is 'total')" in text
    assert "coupon: expected <object" in text
    assert "user_id: expected 'u2', found 'u1'" in text
    assert "anonymous_id: expected 'a', found None" in text
    for number in range(30):
        tracker.track("Order Completed", {"number": number})
    with pytest.raises(AssertionError, match="was tracked 31 times, not once"):
        tracked.only("Order Completed")
    with pytest.raises(AssertionError, match="and 11 more"):
        tracked.none("Order Completed")


def test_what_is_not_sent_is_not_captured(tracked: Tracked) -> None:
    """Consent, the hook and a closed tracker hold as ever."""
    tracker = Tracker(queue="memory", before_send=lambda message: None)
    tracker.track("A")
    tracker = Tracker(queue="memory")
    tracker.opt_out()
    tracker.track("B")
    tracker.opt_in()
    tracker.close()
    tracked.expect_loss("closed")
    tracker.track("C")
    assert tracked.events() == []


def test_violations_are_data_on_the_events(tracked: Tracked, plan: Plan) -> None:
    tracker = Tracker(queue="memory", plan=plan)
    tracked.expect_violation("Order Completed", "missing", "/properties/order_id")
    tracked.expect_violation(code="type")
    tracker.track("Order Completed", {"total": "much"})
    tracker.track("Product Viewed", {"product_id": "p"})
    assert {violation.code for _, violation in tracked.violations} == {"missing", "type"}
    assert tracked.only("Product Viewed").violations == ()
    assert tracked.problem() is None


def test_clear_does_not_hide_what_was_wrong(tracked: Tracked, plan: Plan) -> None:
    tracker = Tracker(queue="memory", plan=plan)
    tracker.track("No Such Event")
    with pytest.raises(AssertionError, match=r"'No Such Event' breaks its plan: .*unplanned_event"):
        tracked.clear()
    assert tracked.problem() is None


def test_a_raising_tracker_raises_and_tracks_nothing(tracked: Tracked, plan: Plan) -> None:
    from desirepath.errors import ViolationError

    tracker = Tracker(queue="memory", plan=plan, on_violation="raise")
    with pytest.raises(ViolationError):
        tracker.track("No Such Event")
    assert tracked.events() == []


def test_a_method_taken_from_the_tracker_is_heard(plan: Plan) -> None:
    """As by `from analytics import track`."""
    tracker = Tracker("http://127.0.0.1:9", queue="memory", plan=plan)
    track = tracker.track
    tracked = Tracked()
    with _tap.listening(tracked):
        track("Order Completed", {"total": 1})
    assert [code for _, code in tracked.violations] == list(tracked.events()[0].violations)
    assert tracked.violations[0][1].code == "missing"
    assert tracker.stats().tracked == 0
    tracker.close()


def test_the_events_of_a_file_are_not_the_tests(tracked: Tracked) -> None:
    """`desirepath send` uses the queue without a tracker, and means it."""
    tracker = Tracker("http://127.0.0.1:9", queue="memory")
    tracker._pipeline.put(b"{}")
    assert tracker.stats().queued == 1
    tracker.close(timeout=0.0)
    tracked.expect_loss("memory_at_exit")
    assert tracked.events() == []


def test_coverage_of_groups_and_of_what_no_plan_names(tmp_path: Path) -> None:
    """A page view that is not planned is no forgotten event: plans need not plan it."""
    plan = Plan.parse("plan: p\nversion: 1.0.0\ngroups: {name: string}\nevents: {A: {}}")
    coverage = PlanCoverage(plan)

    class Counting(Tracked):
        captures = False

        def saw(self, record: bytes, *_: Any) -> None:
            coverage.see(record)

    with (
        _tap.listening(Counting()),
        Tracker("http://127.0.0.1:9", queue_dir=tmp_path, exit_timeout_s=0) as tracker,
    ):
        tracker.page("Home")
        tracker.group("g", {"name": "ACME"})
        tracker.track("A")
    assert [(row.name, row.seen) for row in coverage.rows()] == [("A", 1), ("group (traits)", 1)]
    assert coverage.percent == 100.0
    assert coverage.unplanned == set()
    assert list(tmp_path.rglob("anonymous_id")), "who only listens changes nothing"
    empty = PlanCoverage(Plan.parse("plan: p\nversion: 1.0.0\nevents: {}"))
    assert empty.percent == 100.0


def test_after_the_fixture_everything_is_as_before() -> None:
    """Also where listeners come and go inside each other."""
    before = dict(vars(Tracker)), dict(vars(Pipeline))
    with _tap.listening(Tracked()), _tap.listening(Tracked()):
        assert dict(vars(Pipeline)) != before[1]
    assert (dict(vars(Tracker)), dict(vars(Pipeline))) == before


# -- in a project --------------------------------------------------------------------------------


def test_a_violation_fails_the_test_at_its_end(project: pytest.Pytester) -> None:
    """And so does one that was expected and did not come, and an event that was lost."""
    project.makepyfile(
        test_shop="""
        import shop

        def test_right(tracked):
            shop.buy(order_id="A1", total=42.5)
            tracked.only("Order Completed", {"total": 42.5}, user_id="u1")

        def test_wrong(tracked):
            shop.buy(total="much")

        def test_expected(tracked):
            tracked.expect_violation("Order Completed")
            shop.buy(total="much")

        def test_expected_in_vain(tracked):
            tracked.expect_violation("Order Completed", code="missing")
            shop.buy(order_id="A1")

        def test_lost(tracked):
            shop.tracker.track(None)
        """
    )
    result = project.runpytest_inprocess("-q")
    result.assert_outcomes(passed=5, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*'Order Completed' breaks its plan: /properties/total: type*found \"much\"*",
            "*a violation was expected and not found: event='Order Completed', code='missing'*",
            "*an event was lost (error): track() failed*",
        ]
    )
    assert not (project.path / "queue").exists()


def test_a_plan_for_trackers_without_one(project: pytest.Pytester) -> None:
    """The setting `desirepath_plan`."""
    project.makeini("[pytest]\ndesirepath_plan = plan.yaml\n")
    project.makepyfile(
        """
        from desirepath import Tracker

        def test_wrong(tracked):
            tracker = Tracker(queue="memory")
            tracker.track("Order Completed", {"total": 1})
            tracker.identify("u1", {"age": 5})
            tracker.page("Home", {"path": "/"})
        """
    )
    result = project.runpytest_inprocess("-q", "-p", "no:asyncio")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*breaks its plan: /properties/order_id: missing*"])


TESTS = """
import shop

def test_one(tracked):
    shop.buy(order_id="A1", total=42.5)
    shop.tracker.identify("u1", {"country": "SE"})

def test_two(tracked):
    shop.tracker.page("Home", {"path": "/"})
    tracked.expect_violation()
    shop.tracker.track("Forgotten Event")
"""

REPORT = [
    "*plan coverage: shop 1.0.0*",
    "Event * Seen  Properties  Not seen",
    "Page Viewed * 1 * 1/1",
    "Order Completed * 1 * 2/2",
    "Product Viewed * 0 * 0/1  never tracked",
    "identify (traits) * 1 * 1/2  age",
    "3 of 4 events, 4 of 6 properties: 70.0 %",
    "not in the plan: Forgotten Event",
]


@pytest.mark.parametrize(
    "option", ["--plan-coverage=plan.yaml", "--plan-coverage", "--plan-coverage-fail-under=70"]
)
def test_plan_coverage(project: pytest.Pytester, option: str) -> None:
    """Of the plan that is named, or of the trackers' own."""
    project.makepyfile(test_shop=TESTS)
    result = project.runpytest_inprocess("-q", option)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(REPORT)
    result.stdout.no_fnmatch_line("*Survey Answered*")
    result.stdout.no_fnmatch_line("*Old Event*")


@pytest.mark.slow
def test_plan_coverage_under_xdist(project: pytest.Pytester) -> None:
    """What the workers have seen is added up."""
    project.makepyfile(test_shop=TESTS)
    result = project.runpytest_subprocess("-n2", "--plan-coverage", "--plan-coverage-fail-under=71")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(REPORT)
    result.stdout.fnmatch_lines(["FAIL: 70.0 % of the plan is below the 71 % asked for"])


def test_plan_coverage_fails_under_a_share(project: pytest.Pytester) -> None:
    """A failing test stays the reason where there is one; no plan is no share."""
    project.makepyfile(test_shop=TESTS)
    under = "--plan-coverage-fail-under=70.1"
    result = project.runpytest_inprocess("-q", "--plan-coverage=plan.yaml", under)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAIL: 70.0 % of the plan is below the 70.1 % asked for"])
    project.makepyfile(
        test_shop="""
        from desirepath import Tracker

        def test_nothing(tracked):
            Tracker(queue="memory").track("A")
        """
    )
    result = project.runpytest_inprocess("-q", "--plan-coverage", under)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["no tracker has a plan; name one: --plan-coverage=FILE"])


def test_plan_coverage_counts_also_without_the_fixture(project: pytest.Pytester) -> None:
    """The events then go where they always go."""
    project.makepyfile(
        test_shop="""
        import shop

        def test_one():
            shop.buy(order_id="A1", total=42.5)
            assert shop.tracker.stats().queued == 1
            assert not shop.tracker.flush(timeout=0)
            shop.tracker.close(timeout=0)
        """
    )
    result = project.runpytest_inprocess("-q", "--plan-coverage")
    result.stdout.fnmatch_lines(["Order Completed * 1 * 2/2"])
    result.assert_outcomes(passed=1)
    assert (project.path / "queue").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plan-coverage", "test_shop.py"], "*write --plan-coverage=FILE.yaml*"),
        (["--plan-coverage=absent.yaml"], "*the plan cannot be read*absent.yaml*"),
    ],
)
def test_mistakes_in_the_options_are_told(
    project: pytest.Pytester, arguments: list[str], message: str
) -> None:
    project.makepyfile(test_shop=TESTS)
    result = project.runpytest_inprocess("-q", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


@pytest.mark.slow
def test_the_plugin_is_inert_until_used(pytester: pytest.Pytester) -> None:
    """A run that tracks nothing does not even import the SDK."""
    pytester.makepyfile(
        """
        import sys

        def test_one(request):
            assert request.config.pluginmanager.has_plugin("desirepath")
            loaded = {name for name in sys.modules if name.startswith("desirepath")}
            assert loaded == {"desirepath", "desirepath.testing", "desirepath.testing.plugin"}
            assert "msgspec" not in sys.modules
        """
    )
    pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=1)
