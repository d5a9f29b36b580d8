#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What concerns a stack that is well, with and without storage beside it that hangs (tests/host/hung.py)."""

import pathlib
import sys
import time

import bench

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "host"))
import hung  # pylint: disable=wrong-import-position
import playground  # pylint: disable=wrong-import-position

ROUNDS = 15
GOAL = 1.2


def figures(stack):
    """{what: the least of some rounds}"""
    service = bench.Service()
    commands = {"status of another stack": [bench.STACKCTL, "--json=short", "status", stack.device],
                "plan": [bench.STACKCTL, "--json=short", "plan"],
                "discovery by a private stackd": [bench.STACKCTL, "--direct", "--json=short", "status", stack.device]}
    bench.once([bench.STACKCTL, "revert"])
    least = {name: cost.wall for name, cost in bench.measure(commands, ROUNDS).items()}
    deeds = bench.measure({"apply": [bench.STACKCTL, "apply"], "revert": [bench.STACKCTL, "revert"]}, ROUNDS)
    least["apply and undo ten things on another stack"] = sum(cost.wall for cost in deeds.values())
    began = time.perf_counter()
    service.end()
    least["shutdown"] = time.perf_counter() - began
    for _ in range(ROUNDS - 1):
        service = bench.Service()
        began = time.perf_counter()
        service.end()
        least["shutdown"] = min(least["shutdown"], time.perf_counter() - began)
    return least


def main():
    bench.enter()
    playground.prepare()
    with playground.Stack() as stack:
        stack.policies()
        kinds = hung.healthy()
        well = figures(stack)
        hung.hang(*kinds)
        ill = figures(stack)
        for kind in kinds:
            kind.end()
    for what, seconds in ill.items():
        bench.row(f"{what}, beside storage that hangs", seconds, ("all is well", well[what]), GOAL)
    bench.finish()


if __name__ == "__main__":
    main()
