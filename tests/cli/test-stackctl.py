#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""stackctl as its users meet it, against a daemon that answers from files.

Usage: test-stackctl.py STACKCTL FAKE-STACKD
Output is compared with golden/NAME.txt; with UPDATE_GOLDEN=1 it is written there instead: read the difference
before you commit it.
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

from cli_harness import (FAKE, SCRATCH, STACKCTL, calls, case, document, environment, equal, finish, golden, harmless, run,
                         trouble)


def gaps():
    """What could not be seen is said by each verb that answers, and no answer is 0 then."""
    for doc in ("none", "fuse"):
        with open(document(doc), encoding="utf-8") as f:
            content = json.load(f)
        content["gaps"] = [{"id": "no-privilege", "message": "Some processes could not be read. Hazards may be missing.", "cure": "Run it as root."},
                           {"id": "evil\033[31m", "message": "\033]0;evil\007", "cure": None}, None]
        with open(f"{SCRATCH}/{doc}-gaps.json", "w", encoding="utf-8") as f:
            json.dump(content, f)
    none, fuse = (f"{SCRATCH}/{doc}-gaps.json" for doc in ("none", "fuse"))
    golden("gaps-status", "status", doc=none)
    golden("gaps-status-hazards", "status", doc=fuse)
    golden("gaps-check", "check", doc=none)
    golden("gaps-check-hazards", "check", doc=fuse)
    golden("gaps-json-check", "--json=short", "check", doc=none)
    golden("gaps-list", "list", "hazards", doc=none)
    golden("gaps-json-list", "--json=short", "list", "hazards", doc=none)
    golden("gaps-show", "show", "/", doc=none)
    golden("gaps-json-show", "--json=short", "show", "/", doc=none)
    golden("gaps-explain", "explain", "/", doc=none, FAKE_EXPLAIN=document("explain-layers"))
    golden("gaps-json-explain", "--json=short", "explain", "/", doc=none, FAKE_EXPLAIN=document("explain-layers"))
    golden("gaps-plan", "plan", doc=none, FAKE_PLAN=document("no-actions"))
    golden("gaps-plan-actions", "plan", doc=fuse)
    golden("gaps-apply", "apply", doc=none, FAKE_APPLY=document("no-actions"))
    golden("gaps-revert", "revert", doc=none, FAKE_REVERT=document("no-actions"))
    golden("gaps-graph", "graph", "--root=" + SCRATCH, doc=none)
    golden("gaps-metrics", "metrics", doc=none)


def goldens():
    for doc in ("stack-2019", "two-paths", "cycle", "fuse", "none", "hostile", "same-lower"):
        golden("status-" + doc, "status", doc=doc)
        golden("layers-" + doc, "list", "layers", doc=doc)
        golden("check-" + doc, "check", doc=doc)
    golden("status-ascii", doc="fuse", LC_ALL="C")
    golden("status-hostile-ascii", doc="hostile", LC_ALL="C")
    golden("status-no-legend", "--no-legend", doc="fuse")
    golden("status-what", "status", "/mnt/xfs")
    golden("status-folded", "status", doc="folded")
    golden("status-all-folded", "status", doc="all-folded")
    golden("status-narrow", doc="fuse", COLUMNS="40")
    golden("processes", "list", "processes", doc="fuse")
    golden("processes-hostile", "list", "processes", doc="hostile")
    golden("processes-no-legend", "list", "processes", "--no-legend", doc="fuse")
    golden("columns", "list", "layers", "-o", "where,Depth,certain", doc="fuse")
    golden("columns-added", "list", "processes", "--output=+state,id", "--no-legend", doc="fuse")
    for what in ("layers", "processes", "hazards"):
        golden("columns-all-" + what, "list", what, "--output-all", doc="hostile")
    golden("hazards", "list", "hazards", doc="fuse")
    golden("hazards-hostile", "list", "hazards", doc="hostile")
    golden("show", "show", "812", "/mnt/xfs")
    golden("show-two-ids", "show", "sshfs", doc="fuse")
    golden("show-hostile", "show", "66", "fs:7:0", doc="hostile")
    golden("plan", "plan")
    golden("plan-hostile", "plan", doc="hostile", FAKE_PLAN=document("hostile-plan"))
    golden("plan-in-force", "plan", FAKE_PLAN=document("apply"))
    golden("plan-nothing", "plan", FAKE_PLAN=document("no-actions"))
    golden("apply", "apply", "812")
    golden("apply-failed", "apply", FAKE_APPLY=document("apply-failed"))
    golden("apply-nothing", "apply", FAKE_APPLY=document("no-actions"))
    golden("apply-still-planned", "apply", FAKE_APPLY=document("plan"))
    golden("revert", "revert")
    golden("revert-nothing", "revert", FAKE_REVERT=document("no-actions"))
    golden("json-hostile", "--json=short", doc="hostile")
    golden("json-list", "list", "processes", "--json=pretty")
    golden("json-check", "check", "--json=short", doc="fuse")
    golden("json-show", "show", "--json=short", "both")
    golden("json-apply-failed", "apply", "--json=short", FAKE_APPLY=document("apply-failed"))
    golden("cat-config", "cat-config")
    golden("cat-config-no-legend", "--no-legend", "cat-config")
    golden("cat-config-hostile", "cat-config", FAKE_CONFIGURATION=document("hostile-configuration"))
    golden("json-cat-config", "--json=pretty", "cat-config")
    golden("json-cat-config-hostile", "--json=short", "cat-config", FAKE_CONFIGURATION=document("hostile-configuration"))
    golden("explain", "explain", "529", doc="explained")
    golden("explain-layers", "explain", "/mnt/inner", "/", doc="explained", FAKE_EXPLAIN=document("explain-layers"))
    golden("explain-narrow", "explain", "529", doc="explained", COLUMNS="40", LC_ALL="C")
    golden("json-explain", "--json=short", "explain", "529", doc="explained")
    golden("check-notices", "check", doc="explained")
    golden("help", "--help")
    gaps()
    for doc in ("stack-2019", "fuse", "cycle", "hostile-names"):
        golden("graph-" + doc, "graph", "--root=" + SCRATCH, doc=doc)


def fake_dot(what):
    """A directory with a dot that does that."""
    folder = tempfile.mkdtemp(dir=SCRATCH)
    with open(folder + "/dot", "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n" + what + "\n")
    os.chmod(folder + "/dot", 0o755)
    return folder


def troubles():
    trouble("unknown verb", "foo", says="stackctl: Unknown command 'foo'. See 'stackctl --help'.")
    trouble("close verb", "staus", says="Did you mean 'status'?")
    trouble("option of another verb", "check", "--all", says="'check' takes no option '--all', which is for: status graph release.")
    trouble("short option of another verb", "plan", "-o", "x", says="'plan' takes no option '--output'")
    trouble("unknown column", "list", "hazards", "-o", "pid,nothing", says="Unknown column 'nothing'. 'list hazards' has: SEVERITY, HAZARD")
    trouble("column of another list", "list", "layers", "-o", "unit", says="Unknown column 'unit'.")
    trouble("no column", "list", "layers", "-o", ",", says="names no column")
    trouble("columns of JSON", "list", "layers", "--json=short", "-o", "id", says="JSON has everything")
    trouble("unknown format", "graph", "--format=gif", says="Unknown format '--format=gif'. There are: dot, svg, png, pdf.")
    trouble("file of unknown format", "graph", "--output=" + SCRATCH + "/x.txt", says="does not tell the format")
    trouble("picture into a directory", "graph", "--output=" + SCRATCH + "/none/x.svg", says="Cannot create a file beside")
    trouble("picture over a device", "graph", "--output=/dev/null", "--format=svg", says="not a regular file")
    trouble("no Graphviz", "graph", "--format=svg", PATH="/does/not/exist", says="Install the package graphviz")
    trouble("Graphviz that fails", "graph", "--format=svg", PATH=fake_dot("exit 3"), says="failed with status 3")
    trouble("Graphviz that is killed", "graph", "--format=png", PATH=fake_dot("kill -9 $$"), says="was ended by signal 9")
    trouble("Graphviz that says nothing", "graph", "--format=png", PATH=fake_dot(":"), says="failed with status 0")
    trouble("verb from a hostile script", "\x1b[2Jx\n", says=r"Unknown command '\x1b[2Jx\x0a'")
    trouble("unknown option", "--frobnicate", says="Unknown option '--frobnicate'")
    trouble("unknown short option", "-x", says="Unknown option '-x'")
    trouble("option without its value", "--root", says="'--root' needs a value")
    trouble("option with a value too many", "--direct=yes", says="'--direct=yes'")
    trouble("unknown JSON mode", "--json=xml", says="'--json=xml'")
    trouble("list of nothing", "list", says="'list' needs an argument")
    trouble("unknown list", "list", "things", says="Unknown list 'things'")
    trouble("check with an argument", "check", "x", says="one argument too many")
    trouble("explain nothing", "explain", says="'explain' needs an argument")
    trouble("explain what vanished", "explain", "812", says="vanished")
    trouble("explain of an older stackd", "explain", "812", says="Is it older", FAKE_ERROR="Explain org.freedesktop.DBus.Error.UnknownMethod what?")
    trouble("show nothing", "show", says="'show' needs an argument")
    trouble("empty name", "status", "", says="An empty name")
    trouble("empty name of many", "apply", "812", "", says="An empty name")
    trouble("name that is not UTF-8", "status", b"/mnt/\xff\xfe", says="not valid UTF-8")
    trouble("unknown object", "status", "/nowhere", says="No layer or process is called '/nowhere'.")
    trouble("unknown object in apply", "apply", "812", "nobody", says="No layer or process is called 'nobody'.")
    trouble("name that means an empty list", "apply", "nothing", says="found nothing under 'nothing'")
    trouble("object that vanished", "show", "vanished", says="'fs:6:6' vanished")
    trouble("object that vanished, in JSON", "show", "vanished", "--json=short", says="'fs:6:6' vanished")
    trouble("root that does not exist", "--root=/does/not/exist", says="Cannot use '/does/not/exist' as root: No such file")
    trouble("root that is a file", "--root=/etc/passwd", says="Not a directory")
    trouble("root half there", "--root=" + SCRATCH, FAKE_ERROR="DescribeNested org.freedesktop.DBus.Error.FileNotFound /x has no proc/ in it",
            says="Cannot describe the stacks: /x has no proc/ in it.")
    trouble("no stackd", STACKD_BINARY="/does/not/exist", says="Cannot start /does/not/exist: No such file or directory.")
    trouble("stackd that is no program", STACKD_BINARY=document("none"), says="Permission denied")
    for fate, how in (("exit", "exited with status 3"), ("kill", "was ended by signal 9 (Killed)")):
        trouble("stackd %ss at start" % fate, FAKE_FATE="start " + fate, says="private stackd " + how)
        trouble("stackd %ss in Describe" % fate, FAKE_FATE="DescribeNested " + fate, says="private stackd " + how)
        trouble("stackd %ss in Apply" % fate, "apply", FAKE_FATE="Apply " + fate, says="private stackd " + how)
    trouble("stackd hangs", FAKE_FATE="DescribeNested hang", SYSTEMD_BUS_TIMEOUT="2", says="did not answer within 2 s")
    trouble("stackd hangs before it speaks", FAKE_FATE="start hang", SYSTEMD_BUS_TIMEOUT="2", says="did not answer within 2 s")
    denied = "Apply org.freedesktop.DBus.Error.AccessDenied Only root may."
    trouble("access denied", "apply", FAKE_ERROR=denied, says="Not permitted to apply protection: Only root may. Run it as root.")
    trouble("authorization required", "revert", says="Not permitted to revert protection",
            FAKE_ERROR="Revert org.freedesktop.DBus.Error.InteractiveAuthorizationRequired please")
    trouble("method unknown", "plan", FAKE_ERROR="Plan org.freedesktop.DBus.Error.UnknownMethod what?", says="Is it older")
    trouble("hostile error", FAKE_ERROR="DescribeNested org.x.Y a\x1b[2Jb\nc", says=r"a\x1b[2Jb\x0ac")
    trouble("error without a message", FAKE_ERROR="DescribeNested org.x.Y ", says="org.x.Y")
    for name, text, says in (
            ("empty answer", " ", "not valid JSON"),
            ("cut answer", '{ "version": 1, "layers": [', "not valid JSON"),
            ("trailing garbage", '{ "version": 1, "layers": [], "processes": [], "hazards": [] } }', "not valid JSON: not one object"),
            ("array", "[]", "not valid JSON: not one object"),
            ("null", "null", "not valid JSON: not one object"),
            ("deep", "[" * 5000, "not valid JSON"),
            ("no version", '{ "layers": [], "processes": [], "hazards": [] }', "lacks its version"),
            ("version 2", '{ "version": 2, "layers": [], "processes": [], "hazards": [] }', "version 2"),
            ("no layers", '{ "version": 1, "processes": [], "hazards": [] }', "lacks its layers"),
            ("layers no array", '{ "version": 1, "layers": {}, "processes": [], "hazards": [] }', "lacks its layers"),
            ("layer no object", '{ "version": 1, "layers": [1], "processes": [], "hazards": [] }', "layer that is no object"),
            ("layer without id", '{ "version": 1, "layers": [{}], "processes": [], "hazards": [] }', "without an id"),
            ("same id twice", '{ "version": 1, "layers": [{"id":"a"},{"id":"a"}], "processes": [], "hazards": [] }', "'a' twice"),
            ("process without pid", '{ "version": 1, "layers": [], "processes": [{}], "hazards": [] }', "without a pid"),
            ("hazard without id", '{ "version": 1, "layers": [], "processes": [], "hazards": [{}] }', "hazard without an id"),
            ("edge to nowhere", '{ "version": 1, "layers": [{"id":"a","lower":[{}]}], "processes": [], "hazards": [] }', "leads nowhere"),
            ("edge no object", '{ "version": 1, "layers": [{"id":"a","processes":[7]}], "processes": [], "hazards": [] }', "leads nowhere")):
        path = os.path.join(SCRATCH, "answer.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        for arguments in (["status"], ["status", "--json=short"], ["check"]):
            trouble("%s in %s" % (name, " ".join(arguments)), *arguments, doc=path, says=says)
    for arguments in (["--direct"], ["--root=/"]):
        trouble("reload with " + arguments[0], *arguments, "reload", says="'reload' is for the running stackd")
    trouble("run of nothing", "run", says="'run' needs a command")
    trouble("run with an unknown option", "run", "--fast", "true", says="'run' has no option '--fast'")
    trouble("run of what is not there", "run", "--try", "--", "/does/not/exist", says="Cannot run '/does/not/exist': No such file")
    trouble("run after an option", "--direct", "run", "true", says="'run' comes first")
    trouble("reload of nobody", "reload", says="stackd is not running")
    trouble("cat-config with an argument", "cat-config", "x", says="one argument too many")
    trouble("cat-config without files", "cat-config", FAKE_CONFIGURATION=document("plan"), says="lacks its files")
    for text, says in (("{}", "lacks its version"), ('{"version":1}', "lacks its actions"), ('{"version":1,"actions":[3]}', "no object")):
        path = os.path.join(SCRATCH, "actions.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        trouble("answer %s to Plan" % text, "plan", FAKE_PLAN=path, says=says)


def standard_output_full():
    with open("/dev/full", "wb") as full:
        for arguments in ([], ["list", "layers"], ["--json=short"], ["--help"], ["--version"], ["apply"]):
            r = run(*arguments, stdout=full)
            equal(r.returncode, 2, "status of %s" % arguments)
            assert b"No space left" in r.stderr, r.stderr


def standard_output_closed():
    r = subprocess.run(["/bin/sh", "-c", '"$0" >&-', STACKCTL], stderr=subprocess.PIPE, env=environment(), timeout=60)
    equal(r.returncode, 2)
    assert b"Bad file descriptor" in r.stderr, r.stderr


def reader_that_goes():
    r, w = os.pipe()
    os.close(r)
    result = run(stdout=w)
    os.close(w)
    equal((result.returncode, result.stderr), (2, b""))


def version():
    r = run("--version")
    assert r.returncode == 0 and re.fullmatch(rb"stackctl \S+\n", r.stdout), r


def exit_statuses():
    equal(run("check").returncode, 1)
    equal(run("check", doc="none").returncode, 0)
    equal(run("status").returncode, 0)
    equal(run("check", "--json=short").returncode, 1)
    equal(run("apply", FAKE_APPLY=document("apply-failed")).returncode, 1)


def json_is_the_document():
    for doc in ("stack-2019", "hostile", "cycle"):
        with open(document(doc), encoding="utf-8") as f:
            wanted = json.load(f)
        wanted = json.loads(json.dumps(wanted).replace("\\ud800", "\ufffd"))
        for mode in ("short", "pretty"):
            r = run("--json=" + mode, doc=doc)
            equal(json.loads(r.stdout), wanted, doc)
        equal(run("--json=short", doc=doc).stdout.count(b"\n"), 1, "lines")


def what_is_folded_is_not_fetched():
    for arguments, wanted in (((), "DescribeNested"), (("--no-legend",), "DescribeNested"), (("--all",), "Describe "),
                              (("--json=short",), "Describe "), (("status", "812"), "Describe 812")):
        run(*arguments)
        equal(calls()[0], wanted, arguments)


def only_what_was_asked_is_changed():
    run("apply", "both")
    equal(calls(), ["LookUp both", "Describe ", "Apply", "  process:812:4711", "  fs:7:0", "gone"])
    run("apply", "812", "tcmu-runner.service")
    equal(calls()[-3:], ["Apply", "  process:812:4711", "gone"])
    run("apply")
    equal(calls(), ["Describe ", "Apply (all)", "gone"])
    run("plan", "nobody")
    assert not any(c.startswith("Plan") for c in calls()), calls()


def paths_become_absolute():
    cwd = SCRATCH
    for given, wanted in (("./x", SCRATCH + "/x"), ("../../a//b/./c/..", "/a/b"), ("/mnt/xfs/", "/mnt/xfs"), (".", SCRATCH),
                          ("plain", "plain"), ("fs:7:0", "fs:7:0"), ("/", "/"), ("/dev/stdin", "/dev/stdin"), ("/dev/null", "/dev/null")):
        run("status", given, cwd=cwd)
        equal(calls()[0], "Describe " + wanted, given)


def root_is_handed_on():
    equal(run("--root=" + SCRATCH).returncode, 0)
    equal(calls()[0], "root " + SCRATCH)
    links = [d for d in (os.path.join("/dev", n) for n in os.listdir("/dev")) if os.path.islink(d)]
    for link in links[:3]:
        run("status", link, "--root=" + SCRATCH)
        equal(calls()[1], "Describe " + link, "this machine's links mean nothing there")


def run_hands_all_on():
    """The command gets its arguments, name, signals, descriptors and status as they came."""
    r = run("run", "--try", "sh", "-c", 'printf "%s|" "$0" "$@"; exit 7', "--json=x", "-h", "", "a b")
    equal((r.returncode, r.stdout), (7, b"--json=x|-h||a b|"))
    r = run("run", "--try", "--argv0", "--", "/bin/sh", "my name", "-c", 'tr "\\0" "|" </proc/$$/cmdline')
    assert r.stdout.startswith(b"my name|-c|"), r.stdout
    ignored = subprocess.run(["sh", "-c", "trap '' USR1; exec \"$@\" <&-", "-", STACKCTL, "run", "--try", "sh", "-c",
                              "grep SigIgn /proc/$$/status; ls /proc/$$/fd"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             env=environment(), timeout=60, preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL)).stdout.split()
    equal((int(ignored[1], 16) & (1 << 12 | 1 << 9), ignored[2:]), (1 << 9, [b"1", b"2"]), "SIGPIPE, SIGUSR1, descriptors")
def pictures_are_drawn():
    """Graphviz takes every drawing without a word, and draws the nodes that there are, under their names."""
    if not shutil.which("dot"):
        return
    for doc in ("stack-2019", "fuse", "cycle", "two-paths", "none", "hostile", "hostile-names", "same-lower"):
        path = SCRATCH + "/picture.svg"
        r = run("graph", "--all", "--output=" + path, doc=doc)
        equal((r.returncode, r.stdout, r.stderr), (0, b"", b""), doc)
        with open(document(doc), encoding="utf-8") as f:
            wanted = json.load(f)
        svg = xml.etree.ElementTree.parse(path).getroot()
        nodes = [e for e in svg.iter("{http://www.w3.org/2000/svg}g") if e.get("class") == "node"]
        titles = [e.findtext("{http://www.w3.org/2000/svg}title") for e in nodes]
        assert all(re.fullmatch(r"n\d+|depth\d+", t) for t in titles), titles
        hidden = doc == "same-lower"    # a directory of which a file is open as well
        equal(sum(t.startswith("n") for t in titles), len(wanted["layers"]) + len(wanted["processes"]) - hidden, doc)
        assert not list(svg.iter("{http://www.w3.org/2000/svg}image")), "an image that a name asked for"
    texts = "".join("".join(e.itertext()) for e in nodes)
    assert "bindfs" in texts and "/srv/lower/data/a.img" in texts, texts
    for name, magic in (("x.png", b"\x89PNG"), ("x.pdf", b"%PDF"), ("x.dot", b"digraph")):
        equal(run("graph", "-o", SCRATCH + "/" + name).returncode, 0)
        with open(SCRATCH + "/" + name, "rb") as f:
            assert f.read().startswith(magic), name
    assert run("graph", "--format=png", "--output=-").stdout.startswith(b"\x89PNG")
    assert not [n for n in os.listdir(SCRATCH) if n.startswith("x.") and n.count(".") > 1], "leftovers"


def graph_shows_what_status_shows():
    """The same layers, and with a name or --all the same more of them."""
    for arguments in ([], ["--all"], ["/mnt/xfs"]):
        tree, picture = run("status", *arguments).stdout.decode(), run("graph", *arguments).stdout.decode()
        for name in ("/mnt/inner", "/mnt/xfs", "/srv/lower/z.img", "vda1", "tcmu-runner"):
            equal(name in tree, name in picture, "%s in %s" % (name, arguments))
    assert "vda1" in tree, "the test shows nothing"


def many_layers():
    layers = [{"id": "fs:0:%d" % i, "kind": "filesystem", "type": "tmpfs", "name": "t%d" % i, "mounts": ["/t/%d" % i], "depth": 0,
               "lower": []} for i in range(100)]
    for i in range(200):
        lower = [{"id": "n:%d" % (i + 1), "evidence": "e", "certainty": "proven"}] if i < 199 else []
        layers.append({"id": "n:%d" % i, "kind": "filesystem" if i % 2 else "block", "type": "ext4", "name": "n%d" % i,
                       "mounts": ["/n/%d" % i] if i % 2 else [], "depth": i // 2, "lower": lower})
    path = os.path.join(SCRATCH, "many.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"version": 1, "layers": layers, "processes": [], "hazards": [], "actions": []}, f)
    r = run(doc=path)
    lines = r.stdout.decode().splitlines()
    equal(r.returncode, 0)
    assert "100 layers not nested: 'stackctl list layers' shows them." in lines, lines[-5:]
    equal(sum("/n/" in line for line in lines), 100)
    equal(len(run("list", "layers", doc=path).stdout.decode().splitlines()), 301)


def too_many_levels():
    layers = [{"id": "n:%d" % i, "kind": "filesystem", "type": "x", "mounts": ["/%d" % i], "depth": i,
               "lower": [{"id": "n:%d" % (i + 1), "certainty": "proven"}]} for i in range(20000)]
    path = os.path.join(SCRATCH, "deep.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"version": 1, "layers": layers, "processes": [], "hazards": [], "actions": []}, f)
    r = run(doc=path)
    equal(r.returncode, 0)
    assert b"too deep to print" in r.stdout and b"not nested" not in r.stdout


def large_machine_is_quick():
    layers = []
    for i in range(20000):
        layers.append({"id": "fs:%d" % i, "kind": "filesystem", "type": "ext4", "mounts": ["/m/%d" % i], "depth": i % 2,
                       "lower": [{"id": "fs:%d" % (i + 1), "certainty": "proven"}] if i % 2 == 0 else []})
    path = os.path.join(SCRATCH, "large.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"version": 1, "layers": layers, "processes": [], "hazards": [], "actions": []}, f)
    start = time.monotonic()
    equal(run(doc=path).returncode, 0)
    assert time.monotonic() - start < 20, "%.1f s for 20,000 layers" % (time.monotonic() - start)


def on_terminal(*arguments, rows=1000, keys=b"", **env):
    """Runs it on a terminal of its own: status and all that came."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve("/bin/sh", ["sh", "-c", 'stty rows %d cols 80; exec "$0" "$@"' % rows, STACKCTL, *arguments],
                  environment(**env))
    output, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.2)[0]:
            try:
                piece = os.read(fd, 65536)
            except OSError:
                break
            if not piece:
                break
            output += piece
        if keys and output:
            os.write(fd, keys)
            keys = b""
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output


def colours_on_a_terminal_only():
    status, output = on_terminal(doc="fuse", TERM="xterm")
    equal(status, 0)
    assert b"\x1b[1;31m" in output and b"\x1b[33m" in output, output
    for env in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": ""}):
        assert b"\x1b" not in on_terminal(doc="fuse", **env)[1], env
    assert b"\x1b[" in on_terminal(doc="fuse", TERM="xterm", NO_COLOR="")[1]
    assert b"\x1b" not in run(doc="fuse", TERM="xterm").stdout


def terminal_obeys_only_colours():
    for arguments in ([], ["list", "layers"], ["list", "processes"], ["list", "hazards"], ["show", "66", "fs:7:0"], ["check"],
                      ["--json=pretty"], ["plan"], ["apply"]):
        output = on_terminal(*arguments, doc="hostile", TERM="xterm", FAKE_PLAN=document("hostile-plan"),
                             FAKE_APPLY=document("hostile-plan"))[1]
        text = re.sub("\x1b\\[[0-9;]*m", "", output.decode()).replace("\r\n", "\n")
        assert harmless(text), (arguments, text)


def pager_when_too_long():
    seen = SCRATCH + "/paged"
    pager = "cat >" + seen
    status, output = on_terminal(rows=5, TERM="dumb", STACKCTL_PAGER=pager)
    equal((status, output), (0, b""))
    with open(seen, "rb") as f:
        assert b"ext4 /mnt/inner" in f.read()
    os.unlink(seen)
    for arguments, rows, env in ((["--no-pager"], 5, {"STACKCTL_PAGER": pager}), ([], 1000, {"STACKCTL_PAGER": pager}),
                                 ([], 5, {"STACKCTL_PAGER": ""}), ([], 5, {"SYSTEMD_PAGER": "cat", "PAGER": pager}),
                                 ([], 5, {"PAGER": "/does/not/exist"})):
        status, output = on_terminal(*arguments, rows=rows, TERM="dumb", **env)
        assert status == 0 and b"ext4 /mnt/inner" in output and not os.path.exists(seen), (arguments, env, output)


def pager_that_is_left():
    status, output = on_terminal(rows=5, TERM="dumb", STACKCTL_PAGER="true")
    equal((status, output), (0, b""))


def less_is_the_pager():
    if not shutil.which("less"):
        return
    status, output = on_terminal(rows=5, TERM="xterm", keys=b"q")
    assert status == 0 and b"ext4 /mnt/inner" in output, output
    assert b"tcmu-runner" not in output, "all of it at once"


def gone(pid):
    for _ in range(100):
        if not os.path.exists("/proc/%d" % pid):
            return True
        time.sleep(0.05)
    return False


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
            return [int(n) for n in f.read().split()]
    except FileNotFoundError:
        return []


def interrupt_takes_the_daemon_along():
    for number_ in (signal.SIGINT, signal.SIGTERM):
        p = subprocess.Popen([STACKCTL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(FAKE_FATE="DescribeNested hang"))
        while not children(p.pid):
            time.sleep(0.02)
        daemon = children(p.pid)[0]
        time.sleep(0.3)
        start = time.monotonic()
        p.send_signal(number_)
        out, err = p.communicate(timeout=30)
        equal((p.returncode, out, err), (-number_, b"", b""))
        assert gone(daemon), "the private daemon is still there"
        assert time.monotonic() - start < 12


def killed_daemon_leaves_nothing():
    p = subprocess.Popen([STACKCTL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    p.communicate(timeout=30)
    equal(calls()[-1], "gone")


def bus():
    """The same over a bus: activation absent, owner there, owner that fails."""
    if not shutil.which("dbus-daemon"):
        return
    conf = SCRATCH + "/bus.conf"
    with open(conf, "w", encoding="utf-8") as f:
        f.write("<busconfig><type>system</type><listen>unix:path=%s/bus</listen><servicedir>%s/services</servicedir>"
                "<policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>" % (SCRATCH, SCRATCH))
    os.mkdir(SCRATCH + "/services")
    address = "unix:path=" + SCRATCH + "/bus"
    daemon = subprocess.Popen(["dbus-daemon", "--config-file=" + conf, "--nofork", "--print-address"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
    service = None
    try:
        daemon.stdout.readline()
        private = run().stdout
        absent = run(DBUS_SYSTEM_BUS_ADDRESS=address)
        equal((absent.returncode, absent.stdout), (0, private), "nobody on the bus")
        equal(calls()[-1], "gone", "the private daemon answered")
        env = environment(DBUS_SYSTEM_BUS_ADDRESS=address, FAKE_LOG=SCRATCH + "/service-log", FAKE_WARNINGS=SCRATCH + "/warnings")
        service = subprocess.Popen([FAKE, "--bus"], env=env)
        for _ in range(100):
            there = run(DBUS_SYSTEM_BUS_ADDRESS=address, STACKD_BINARY="/does/not/exist")
            if there.returncode == 0:
                break
            time.sleep(0.05)
        equal((there.returncode, there.stdout), (0, private), "on the bus")
        equal(calls(), [], "private daemon on the side")
        for arguments in (["--direct"], ["--root=" + SCRATCH]):
            equal(run(*arguments, DBUS_SYSTEM_BUS_ADDRESS=address).stdout, private)
            equal(calls()[-1], "gone", "%s is private" % arguments)
        r = run("status", "nowhere", DBUS_SYSTEM_BUS_ADDRESS=address)
        assert r.returncode == 2 and b"'nowhere'" in r.stderr, r
        for warnings, status in (("\n", 0), ("/etc/x:1: unknown\n", 0), ("/etc/x\x1b[2J: a\n/etc/y: refused!\n", 1)):
            with open(SCRATCH + "/warnings", "w", encoding="utf-8") as f:
                f.write(warnings)
            r = run("reload", DBUS_SYSTEM_BUS_ADDRESS=address)
            wanted = "".join("stackctl: %s\n" % w.replace("\x1b", "\\x1b") for w in warnings.splitlines() if w)
            equal((r.returncode, r.stdout, r.stderr.decode()), (status, b"", wanted), "reload")
        r = run("cat-config", DBUS_SYSTEM_BUS_ADDRESS=address)
        assert r.returncode == 0 and b"stackctl: /etc/stackd/policy/50-fuse.policy.d/x.conf:2: Min=1Q" in r.stderr, r
        service.terminate()
        service.wait()
        with open(SCRATCH + "/services/org.stackd1.service", "w", encoding="utf-8") as f:
            f.write("[D-BUS Service]\nName=org.stackd1\nExec=/bin/false\nUser=root\n")
        daemon.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        r = run(DBUS_SYSTEM_BUS_ADDRESS=address)
        assert r.returncode == 2 and not r.stdout and b"Cannot start stackd" in r.stderr, r
    finally:
        for p in (service, daemon):
            if p:
                p.terminate()
                p.wait()


def main():
    goldens()
    troubles()
    for f in (pictures_are_drawn, graph_shows_what_status_shows, standard_output_full, standard_output_closed, reader_that_goes, version, exit_statuses, json_is_the_document,
              what_is_folded_is_not_fetched, only_what_was_asked_is_changed, paths_become_absolute, root_is_handed_on, many_layers, too_many_levels,
              large_machine_is_quick, colours_on_a_terminal_only, terminal_obeys_only_colours, pager_when_too_long,
              pager_that_is_left, less_is_the_pager, run_hands_all_on, interrupt_takes_the_daemon_along, killed_daemon_leaves_nothing, bus):
        case(f)
    return finish()


sys.exit(main())
