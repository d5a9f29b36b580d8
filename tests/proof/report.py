#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results of proofs: keeps them, and makes the tables and the pictures of them.

Usage: report.py RESULTS... [--add FILE] [--document FILE] [--plots DIRECTORY]

RESULTS are directories that run.py wrote into, and files of kept runs, one a line. --add appends to such a file the runs that it
does not have yet. --document replaces what stands between the marks of a page by the tables.
"""

import argparse
import collections
import json
import math
import pathlib
import re
import sys
import uuid

VERDICTS = ("completed", "unfinished", "starved", "hang", "failed", "lost")
POINTS = 40     # of a kept run's curve
MARK = "<!-- runs -->"


def keep(directory, result):
    """One file a run: runs of several processes and days add up."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{result['proof']}-{result['suite']}-{result['arm']}-{uuid.uuid4().hex[:8]}.json").write_text(json.dumps(result))


def thinned(samples):
    """Enough of them for a picture, with the last."""
    step = max(1, math.ceil(len(samples) / POINTS))
    return [[round(s["t"]), s["done"]] for i, s in enumerate(samples) if i % step == 0 or i == len(samples) - 1]


def condense(result):
    """What the tables and pictures need of a run."""
    run = {key: result.get(key) for key in ("id", "proof", "title", "kernel", "arm", "seed", "verdict", "seconds", "before", "cost")}
    last = result["samples"][-1] if result["samples"] else {"done": 0, "in_flight": 0, "marks": [0, 0]}
    run.update(done=last["done"], in_flight=last["in_flight"], marks=last["marks"], waits=waits(result["waiting"]),
               error=" ".join(result["errors"][-1].split())[-200:] if result["errors"] else None,
               shut_down="has been shut down" in result.get("serial", ""), curve=thinned(result["samples"]))
    return run


def read(paths):
    runs = []
    for path in paths:
        if path.is_dir():
            runs += [condense({"id": file.stem[-8:], **json.loads(file.read_text())}) for file in sorted(path.glob("*.json"))]
        else:
            runs += [json.loads(line) for line in path.read_text().splitlines()]
    return runs


def add(file, runs):
    known = {run["id"] for run in read([file])} if file.exists() else set()
    with file.open("a") as out:
        for run in runs:
            if run["id"] not in known:
                out.write(json.dumps(run, separators=(",", ":")) + "\n")


def functions(thread):
    """The innermost of a kernel stack that say why it waits."""
    telling = ("balance_dirty_pages", "shrink_node", "try_to_free_pages", "rwsem_down_write_slowpath", "do_swap_page", "blk_mq_get_tag",
               "bio_alloc_bioset", "wait_on_page_writeback", "folio_wait_writeback", "io_schedule", "xfs_file_buffered_write",
               "ext4_buffered_write_iter", "nfs_file_write", "vfs_fsync_range")
    return [name for name in thread["stack"] if any(name.startswith(each) for each in telling)]


def waits(threads):
    """Where the server's threads and the writers wait, most first: [who, how many, functions]."""
    found = []
    for who, serving in (("server", True), ("writer", False)):
        stacks = collections.Counter(" < ".join(functions(t)) for t in threads
                                     if t["server"] == serving and (serving or t["comm"].startswith("python")))
        found += [[who, n, stack] for stack, n in stacks.most_common(2) if stack]
    return found


def describe(run):
    """One line: what came of a run."""
    text = run["verdict"]
    if run["seconds"] is not None:
        text += f" after {run['seconds']:.0f} s"
    if run["curve"]:
        text += f", {run['done']} requests done, {run['in_flight']} in flight, {run['marks'][0]} of {run['marks'][1]} threads marked"
    text += "".join(f"; {n} {who}: {stack}" for who, n, stack in run["waits"])
    if run["shut_down"]:
        text += "; the file system shut itself down"
    if run["error"]:
        text += f" ({run['error']})"
    return text


def interval(hits, n, z=1.96):
    """Wilson's score interval of a share, 95 %."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    middle, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + z * z / n)), min(1.0, (middle + spread) / (1 + z * z / n))


def median(values):
    values = sorted(values)
    return values[len(values) // 2] if values else None


def grouped(runs):
    """Title and runs of each arm, of each proof on each kernel."""
    groups = {}
    for run in sorted(runs, key=lambda run: (run["proof"], kernel_key(run))):
        if run["kernel"] and not run["before"]:
            _, arms = groups.setdefault((run["proof"], run["kernel"]), (run["title"], collections.defaultdict(list)))
            arms[run["arm"]].append(run)
    return groups


def kernel_key(run):
    return [int(n) for n in re.findall(r"\d+", run["kernel"] or "0")[:3]]


def verdicts(runs):
    """In words, with the share of those that completed and its interval."""
    counts = collections.Counter(run["verdict"] for run in runs)
    low, high = interval(counts["completed"], len(runs))
    text = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])
    # With data in its memory that are written nowhere. Runs that were kept first do not tell.
    if shut_down := sum(run.get("shut_down", False) for run in runs):
        text += f" (the file system shut itself down in {shut_down})"
    seconds = median([run["seconds"] for run in runs if run["verdict"] == "completed"])
    return f"{text} of {len(runs)} ({low:.0%} to {high:.0%} complete" + (f"; median {seconds:.0f} s)" if seconds is not None else ")")


def rows(heading, lines):
    return ["| " + " | ".join(heading) + " |", "|" + " --- |" * len(heading), *("| " + " | ".join(line) + " |" for line in lines), ""]


def cost_of(runs, what):
    return [run["cost"][what] for run in runs if run["cost"]]


def ratio(with_, without):
    """Of the medians, and of the extremes: the least of one to the most of the other, and the other way round."""
    return f"{median(with_) / median(without):.2f} ({min(with_) / max(without):.2f} to {max(with_) / min(without):.2f})"


def table(runs):
    """Markdown: what came of the runs, which part of stackd it was, what it costs."""
    proofs, parts, costs = [], [], []
    for (name, kernel), (title, arms) in grouped(runs).items():
        with_, without = arms.get("with", []), arms.get("without", [])
        if cost_of(with_, "mib_per_second") and cost_of(without, "mib_per_second"):
            costs.append([name, title, kernel, f"{len(without)} and {len(with_)}",
                          *(ratio(cost_of(with_, what), cost_of(without, what)) for what in ("mib_per_second", "median_us", "p99_us"))])
        elif with_ or without:
            proofs.append([name, title, kernel, *(verdicts(some) if some else "not tried" for some in (without, with_))])
        for arm in sorted(set(arms) - {"with", "without"}):
            parts.append([name, kernel, arm.removeprefix("no-"), verdicts(arms[arm])])
    lines = rows(["proof", "stack", "Linux", "without stackd", "with stackd"], proofs)
    if parts:
        lines += ["With stackd, but for one part of it:", "", *rows(["proof", "Linux", "switched off", ""], parts)]
    if costs:
        lines += ["With plenty of memory: with stackd to without it, the medians (and the extremes of all runs):", "",
                  *rows(["proof", "stack", "Linux", "runs", "throughput", "median latency", "99th percentile"], costs)]
    return "\n".join(lines)


def document(path, runs):
    before, _, rest = path.read_text().partition(MARK)
    _, _, after = rest.partition(MARK)
    path.write_text(f"{before}{MARK}\n{table(runs)}\n{MARK}{after}")


# ---- pictures ----

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 360, 70, 50, 20, 50
COLOURS = {"without": "#c0392b", "with": "#1f6fb2"}


def plot(proof, kernel, runs):
    """Requests completed over time, a line a run."""
    runs = [run for run in runs if run["arm"] in COLOURS and run["curve"]]
    longest = max((run["curve"][-1][0] for run in runs), default=1) or 1
    most = max((run["curve"][-1][1] for run in runs), default=1) or 1

    def x(t):
        return LEFT + t / longest * (WIDTH - LEFT - RIGHT)

    def y(done):
        return HEIGHT - BOTTOM - done / most * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="20" font-size="15">{proof}, Linux {kernel}: requests completed</text>']
    for i, (arm, colour) in enumerate(COLOURS.items()):
        some = [run for run in runs if run["arm"] == arm]
        done = sum(run["verdict"] == "completed" for run in some)
        parts.append(f'<text x="{LEFT + i * 300}" y="40" fill="{colour}">{arm} stackd: {done} of {len(some)} runs completed</text>')
    for i in range(5):
        t, done = longest * i / 4, most * i / 4
        parts += [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(done):.1f}" y2="{y(done):.1f}" stroke="#ddd"/>',
                  f'<text x="{LEFT - 8}" y="{y(done) + 4:.1f}" text-anchor="end">{done:.0f}</text>',
                  f'<text x="{x(t):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{t:.0f} s</text>']
    for run in runs:
        points = " ".join(f"{x(t):.1f},{y(done):.1f}" for t, done in run["curve"])
        t, done = run["curve"][-1]
        mark = "●" if run["verdict"] == "completed" else "×"
        parts += [f'<polyline points="{points}" fill="none" stroke="{COLOURS[run["arm"]]}" stroke-width="1.5" stroke-opacity="0.8"/>',
                  f'<text x="{x(t):.1f}" y="{y(done) + 5:.1f}" text-anchor="middle" fill="{COLOURS[run["arm"]]}">{mark}</text>']
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 10}" fill="#555">● all data written, synchronised, read back and equal; × hung, failed or unfinished</text></svg>')
    return "\n".join(parts) + "\n"


def plots(runs, directory):
    directory.mkdir(parents=True, exist_ok=True)
    for (proof, kernel), (_, arms) in grouped(runs).items():
        version = re.match(r"\d+\.\d+", kernel)[0]
        (directory / f"{proof}-{version}.svg").write_text(plot(proof, version, [run for arm in arms.values() for run in arm]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path, nargs="+")
    parser.add_argument("--add", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--document", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--plots", type=pathlib.Path, metavar="DIRECTORY")
    arguments = parser.parse_args()
    runs = read(arguments.results)
    if not runs:
        parser.error("no results there")
    if arguments.add:
        add(arguments.add, runs)
        runs = read([arguments.add])
    if arguments.document:
        document(arguments.document, runs)
    if arguments.plots:
        plots(runs, arguments.plots)
    print(table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
