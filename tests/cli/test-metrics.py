#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""stackctl metrics: valid OpenMetrics whatever the names, the right numbers, and files written whole.

Usage: test-metrics.py STACKCTL FAKE-STACKD
"""

import json
import os
import shutil
import stat
import subprocess
import sys

from cli_harness import HERE, SCRATCH, case, document, equal, finish, golden, report, run, trouble

try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
    from prometheus_client.parser import text_string_to_metric_families as parse_text
except ImportError:
    # Debian's package is for Debian's Python, which need not be the first in $PATH.
    if "/usr/bin/python3" not in (sys.executable, os.environ.get("STACKD_TEST_PYTHON")):
        os.environ["STACKD_TEST_PYTHON"] = "/usr/bin/python3"
        shutil.rmtree(SCRATCH)
        os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])
    parse_openmetrics = parse_text = None

DOCUMENTS = sorted(n[:-5] for n in os.listdir(os.path.join(HERE, "documents"))
                   if b'"layers"' in open(document(n[:-5]), "rb").read())


def samples(text, parse=None):
    """name -> [(labels, value)]"""
    found = {}
    try:
        families = list((parse or parse_openmetrics)(text))
    except ValueError as e:
        raise AssertionError("not valid: %s" % e) from e
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def every_document_parses():
    """As OpenMetrics, and as the older text format, which node_exporter reads, to the same samples."""
    for doc in DOCUMENTS:
        r = run("metrics", doc=doc)
        equal((r.returncode, r.stderr), (0, b""), doc)
        text = r.stdout.decode()
        assert text.endswith("# EOF\n"), text[-100:]
        equal(samples(text), samples(text, parse_text), doc)


def the_parser_would_complain():
    """The validator is one: it refuses what is nearly right."""
    text = run("metrics").stdout.decode()
    for broken in (text.replace("# EOF\n", ""), text.replace('"} 1\n', '} 1\n', 1), text + "x 1\n"):
        try:
            samples(broken)
        except AssertionError:
            continue
        raise ValueError("taken as valid: ..." + broken[-60:])


def numbers_are_those_of_the_document():
    for doc in DOCUMENTS:
        with open(document(doc), encoding="utf-8") as f:
            wanted = json.load(f)
        got = samples(run("metrics", doc=doc).stdout.decode())
        equal(sum(v for _, v in got["stackd_layers"]), len(wanted["layers"]), doc)
        equal(sum(v for _, v in got["stackd_hazards"]), len(wanted["hazards"]), doc)
        equal(len(got.get("stackd_process_depth", [])), len(wanted["processes"]), doc)
    got = samples(run("metrics", doc="fuse").stdout.decode())
    server = {"process": "process:2001:99", "pid": "2001", "command": "passthrough", "unit": "images.service", "role": "backing"}
    for name, value in (("depth", 2), ("threads", 10), ("marked_threads", 3), ("marked", 0), ("protected", 0), ("memory_min_bytes", 1 << 27)):
        assert (server, value) in got["stackd_process_" + name], got["stackd_process_" + name]
    assert ({"layer": "fs:8:1", "kind": "filesystem", "type": "ext4", "where": "/"}, 2) in got["stackd_layer_depth"]
    assert not any(labels["layer"] == "swap:254:1" for labels, _ in got["stackd_layer_depth"]), "not nested"
    equal(got["stackd_depth_max"], [({}, 2)])
    equal({labels["hazard"] for labels, _ in got["stackd_hazard"]}, {"nofs-partial", "foreign-user", "double-cache"})


def names_come_back_exactly():
    got = samples(run("metrics", doc="hostile-names").stdout.decode())
    equal(got["stackd_layer_depth"][0][0]["where"], '/m</TD></TABLE>>];evil1->evil2;')
    equal(got["stackd_layer_depth"][0][0]["type"], 'a\\N"; x -> y; "')


def file_is_written_whole():
    path = SCRATCH + "/stackd.prom"
    r = run("metrics", "--output=" + path)
    equal((r.returncode, r.stdout, r.stderr), (0, b"", b""))
    with open(path, "rb") as f:
        equal(f.read(), run("metrics").stdout)
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o644, "the exporter runs as somebody else")
    inode = os.stat(path).st_ino
    equal(run("metrics", "-o", path).returncode, 0)
    assert os.stat(path).st_ino != inode, "written over in place"
    r = run("metrics", "-o", path, FAKE_ERROR="Describe org.x.Y no")
    assert r.returncode == 2 and os.path.getsize(path) > 100, "the old one is kept"
    equal([n for n in os.listdir(SCRATCH) if n.startswith("stackd.prom")], ["stackd.prom"], "leftovers")


def promtool_has_nothing_to_say():
    for doc in DOCUMENTS:
        r = subprocess.run(["promtool", "check", "metrics"], input=run("metrics", doc=doc).stdout, capture_output=True, check=False)
        equal((r.returncode, r.stdout, r.stderr), (0, b"", b""), doc)
    rules = os.path.join(HERE, "../../docs/stackd-alerts.yml")
    r = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, check=False)
    equal(r.returncode, 0, r.stdout.decode() + r.stderr.decode())


def main():
    golden("metrics", "metrics", doc="fuse")
    trouble("metrics as JSON", "metrics", "--json=short", says="Metrics are OpenMetrics text.")
    trouble("metrics over a directory", "metrics", "--output=" + SCRATCH, says="not a regular file")
    trouble("metrics into nowhere", "metrics", "--output=/does/not/exist/x.prom", says="Cannot create a file beside")
    case(file_is_written_whole)
    for f in (every_document_parses, the_parser_would_complain, numbers_are_those_of_the_document, names_come_back_exactly):
        if parse_openmetrics:
            case(f)
        else:
            report(f.__name__.replace("_", " ") + " # SKIP no python3-prometheus-client", None)
    if shutil.which("promtool"):
        case(promtool_has_nothing_to_say)
    return finish()


sys.exit(main())
