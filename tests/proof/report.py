#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results of proofs: keeps them, and makes the table and the pictures of them.

Usage: report.py RESULTS [--markdown FILE] [--plots DIRECTORY]
"""

import argparse
import collections
import json
import math
import pathlib
import sys
import uuid

VERDICTS = ("completed", "unfinished", "starved", "hang", "failed", "lost")


def keep(directory, result):
    """One file a run: runs of several processes and days add up."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{result['proof']}-{result['suite']}-{result['arm']}-{uuid.uuid4().hex[:8]}.json").write_text(json.dumps(result))


def read(directory):
    return [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]


def functions(thread):
    """The innermost of a kernel stack that say why it waits."""
    telling = ("balance_dirty_pages", "shrink_node", "try_to_free_pages", "rwsem_down_write_slowpath", "do_swap_page", "blk_mq_get_tag",
               "bio_alloc_bioset", "wait_on_page_writeback", "folio_wait_writeback", "io_schedule", "xfs_file_buffered_write",
               "ext4_buffered_write_iter", "nfs_file_write", "vfs_fsync_range")
    return [name for name in thread["stack"] if any(name.startswith(each) for each in telling)]


def describe(result):
    """One line: what came of a run."""
    text = result["verdict"]
    if result["seconds"] is not None:
        text += f" after {result['seconds']:.0f} s"
    if result["samples"]:
        last = result["samples"][-1]
        text += f", {last['done']} requests done, {last['in_flight']} in flight, {last['marks'][0]} of {last['marks'][1]} threads marked"
    for who, serving in (("server", True), ("writer", False)):
        found = collections.Counter(" < ".join(functions(t)) for t in result["waiting"]
                                    if t["server"] == serving and (serving or t["comm"].startswith("python")))
        text += "".join(f"; {n} {who}: {stack}" for stack, n in found.most_common(2) if stack)
    if result["errors"]:
        text += f" ({' '.join(result['errors'][-1].split())[-200:]})"
    return text


def interval(hits, n, z=1.96):
    """Wilson's score interval of a share, 95 %."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    middle, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)


def median(values):
    values = sorted(values)
    return values[len(values) // 2] if values else None


def table(results):
    """Markdown."""
    groups = collections.OrderedDict()
    for result in results:
        groups.setdefault((result["proof"], result["title"], result["kernel"] or result["suite"]), {"without": [], "with": []})[result["arm"]].append(result)
    lines = ["| proof | stack | Linux | without stackd | completed, of runs (95 % interval) | with stackd | completed, of runs (95 % interval) |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for (name, title, kernel), arms in groups.items():
        cells = [name, title, kernel]
        for arm in ("without", "with"):
            runs = arms[arm]
            counts = collections.Counter(run["verdict"] for run in runs)
            what = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v]) or "not tried"
            if (seconds := median([run["seconds"] for run in runs if run["verdict"] == "completed"])) is not None:
                what += f", median {seconds:.0f} s"
            low, high = interval(counts["completed"], len(runs))
            cells += [what, f"{counts['completed']} of {len(runs)} ({low:.0%} to {high:.0%})" if runs else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


# ---- pictures ----

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 360, 70, 50, 20, 50
COLOURS = {"without": "#c0392b", "with": "#1f6fb2"}


def plot(proof, kernel, results):
    """Requests completed over time, a line a run."""
    longest = max((run["samples"][-1]["t"] for run in results if run["samples"]), default=1)
    most = max((run["samples"][-1]["done"] for run in results if run["samples"]), default=1) or 1

    def x(t):
        return LEFT + t / longest * (WIDTH - LEFT - RIGHT)

    def y(done):
        return HEIGHT - BOTTOM - done / most * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="20" font-size="15">{proof}, Linux {kernel}: requests completed</text>']
    for i, arm in enumerate(COLOURS):
        runs = [run for run in results if run["arm"] == arm]
        done = sum(run["verdict"] == "completed" for run in runs)
        parts.append(f'<text x="{LEFT + i * 300}" y="40" fill="{COLOURS[arm]}">{arm} stackd: {done} of {len(runs)} runs completed</text>')
    for i in range(5):
        t, done = longest * i / 4, most * i / 4
        parts += [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(done):.1f}" y2="{y(done):.1f}" stroke="#ddd"/>',
                  f'<text x="{LEFT - 8}" y="{y(done) + 4:.1f}" text-anchor="end">{done:.0f}</text>',
                  f'<text x="{x(t):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{t:.0f} s</text>']
    for run in results:
        points = " ".join(f"{x(s['t']):.1f},{y(s['done']):.1f}" for s in run["samples"])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[run["arm"]]}" stroke-width="1.5" stroke-opacity="0.8"/>')
        if run["samples"]:
            last = run["samples"][-1]
            mark = "●" if run["verdict"] == "completed" else "×"
            parts.append(f'<text x="{x(last["t"]):.1f}" y="{y(last["done"]) + 5:.1f}" text-anchor="middle" fill="{COLOURS[run["arm"]]}">{mark}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 10}" fill="#555">● all data written, synchronised, read back and equal; × hung, failed or unfinished</text></svg>')
    return "\n".join(parts) + "\n"


def plots(results, directory):
    directory.mkdir(parents=True, exist_ok=True)
    groups = collections.defaultdict(list)
    for result in results:
        groups[result["proof"], result["kernel"] or result["suite"]].append(result)
    for (proof, kernel), runs in groups.items():
        (directory / f"{proof}-{kernel.split('-')[0].split('+')[0]}.svg").write_text(plot(proof, kernel, runs))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    parser.add_argument("--plots", type=pathlib.Path)
    arguments = parser.parse_args()
    results = read(arguments.results)
    if not results:
        parser.error(f"no results in {arguments.results}")
    if arguments.markdown:
        arguments.markdown.write_text(table(results) + "\n")
    if arguments.plots:
        plots(results, arguments.plots)
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
