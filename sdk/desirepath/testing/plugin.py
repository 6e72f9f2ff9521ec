"""The pytest plugin: the fixture `tracked`, the options `--plan-coverage[=FILE]`.

It is loaded in every run of every project that has Desirepath installed, so it imports nothing
and changes nothing until one of them is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from desirepath.plan import Plan
    from desirepath.testing import Tracked

__all__ = ["pytest_addoption", "pytest_configure", "tracked"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and the setting `desirepath_plan`."""
    group = parser.getgroup("desirepath", "desirepath: tracking")
    group.addoption(
        "--plan-coverage",
        nargs="?",
        const="",
        default=None,
        metavar="FILE",
        help="report which planned events and properties the tests have tracked; FILE is the plan "
        "(default: desirepath_plan, or the plans of the trackers)",
    )
    group.addoption(
        "--plan-coverage-fail-under",
        type=float,
        default=None,
        metavar="PERCENT",
        help="fail if less of the plan has been tracked",
    )
    parser.addini("desirepath_plan", "the plan that tracked events are checked against", "string")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to look, if asked to."""
    chosen = config.getoption("plan_coverage")
    least = config.getoption("plan_coverage_fail_under")
    if chosen is None and least is None:
        return
    if chosen and not chosen.endswith((".yaml", ".yml", ".json")):
        raise pytest.UsageError(
            f"--plan-coverage has taken {chosen!r} for the plan; write --plan-coverage=FILE.yaml, "
            "or put it last"
        )
    from desirepath.testing._coverage import CoverageReporter

    plan = _load(str(config.invocation_params.dir / chosen)) if chosen else _plan(config)
    config.pluginmanager.register(CoverageReporter(config, plan, least), "desirepath-plan-coverage")


@pytest.fixture
def tracked(request: pytest.FixtureRequest) -> Iterator[Tracked]:
    """The events of this test, from every tracker, instead of their delivery.

    Nothing reaches the disk or the network. At the end the test fails for each event that broke
    its plan, or was lost, and was not expected to.
    """
    from desirepath.testing._tap import listening
    from desirepath.testing._tracked import Tracked

    found = Tracked(plan=_plan(request.config))
    with listening(found):
        yield found
    problem = found.problem()
    if problem is not None:
        pytest.fail(problem, pytrace=False)


def _plan(config: pytest.Config) -> Plan | None:
    """The plan that the settings name."""
    name = str(config.getini("desirepath_plan") or "")
    return _load(str(config.rootpath / name)) if name else None


def _load(path: str) -> Plan:
    from desirepath.errors import PlanError
    from desirepath.plan import Plan

    known = _plans.get(path)
    if known is None:
        try:
            known = _plans[path] = Plan.load(path)
        except (PlanError, OSError) as error:
            raise pytest.UsageError(f"the plan cannot be read: {error}") from None
    return known


_plans: dict[str, Plan] = {}
