#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages are well formed, and describe the options and verbs that there are, no more and no less; each
hazard has its page, and what is measured stands where it is told.

Usage: test-man.py SOURCE-DIRECTORY STACKCTL STACKD
"""

import os
import re
import shutil
import subprocess
import sys

SOURCE, STACKCTL, STACKD = (os.path.abspath(p) for p in sys.argv[1:4])
PAGES = sorted(n for n in os.listdir(os.path.join(SOURCE, "man")) if re.search(r"\.[1-8]$", n))
failures = number = 0


def report(name, problem):
    global failures, number
    number += 1
    failures += bool(problem)
    print(f"{'not ok' if problem else 'ok'} {number} - {name}")
    for line in str(problem or "").splitlines():
        print("# " + line)


def differ(told, described):
    """What only one of them has, as a sentence, or nothing."""
    told, described = set(told), set(described)
    if not told:
        return "the program tells of none: the test is wrong"
    return "" if told == described else f"not in the page: {sorted(told - described)}; not in the program: {sorted(described - told)}"


def check_form(page):
    """By mandoc, or by groff where that is not installed."""
    path = os.path.join(SOURCE, "man", page)
    if shutil.which("mandoc"):
        r = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True, check=False)
        lines = r.stdout + r.stderr
    elif shutil.which("groff"):
        r = subprocess.run(["groff", "-ww", "-man", "-Tutf8", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        lines = r.stderr
    else:
        return "neither mandoc nor groff is installed"
    # The version of the project is the date of its pages.
    return "\n".join(line for line in lines.splitlines() if "missing date" not in line)


def plain(line):
    """Without macros and changes of font."""
    line = re.sub(r"\\f[BIPR]", "", re.sub(r"^\.[A-Z]+ ", "", line)).replace("\\-", "-")
    return line.replace('"', "")


def items(page, section):
    """The headings of the items in a section."""
    with open(os.path.join(SOURCE, "man", page), encoding="utf-8") as f:
        text = f.read()
    part = re.search(r'^\.SH "?%s"?\n(.*?)(?=^\.SH |\Z)' % section, text, re.MULTILINE | re.DOTALL)
    return [plain(line) for line in re.findall(r"^\.TP\n(.*)$", part[1], re.MULTILINE)] if part else []


def options_described(page):
    return {m for heading in items(page, "OPTIONS") for m in re.findall(r"--?[A-Za-z][a-z-]*=?", heading)}


def help_of(program):
    return subprocess.run([program, "--help"], check=True, capture_output=True, text=True, env={"LC_ALL": "C.UTF-8"}).stdout


def options_told(text):
    """As the help has them: '  -o --output=FILE  ...'."""
    found = set()
    for line in text.splitlines():
        if m := re.match(r"  (-[A-Za-z]|  ) (--[a-z-]+=?)", line):
            found |= {m[1].strip(), m[2]} - {""}
    return found


def verbs_told(text):
    return re.findall(r"^  ([a-z][a-z-]*)\b", text.partition("\nVerbs:\n")[2].partition("\n\n")[0], re.MULTILINE)


def hazards_in_code():
    with open(os.path.join(SOURCE, "daemon/analysis/hazard.c"), encoding="utf-8") as f:
        return re.findall(r'^\s*\[HAZARD_\w+\] = \{ "([a-z-]+)"', f.read(), re.MULTILINE)


def messages_in_code():
    with open(os.path.join(SOURCE, "common/log.h"), encoding="utf-8") as f:
        return re.findall(r'^#define LOG_ID_\w+ "([0-9a-f]{32})"', f.read(), re.MULTILINE)


def messages_in_catalog():
    with open(os.path.join(SOURCE, "conf/stackd.catalog"), encoding="utf-8") as f:
        return re.findall(r"^-- ([0-9a-f]{32})$", f.read(), re.MULTILINE)


def keys_in_code():
    """Of the document, by those who write it; "objects" is what the bus calls what explain has as "reasons"."""
    with open(os.path.join(SOURCE, "daemon/bus/describe.c"), encoding="utf-8") as f:
        return set(re.findall(r'put_\w+\(&?j, "(\w+)"', f.read())) - {"objects"}


def check_hazard_page(name):
    path = os.path.join(SOURCE, "docs/hazards", name + ".md")
    if not os.path.exists(path):
        return "there is no docs/hazards/" + name + ".md"
    with open(path, encoding="utf-8") as f:
        text = f.read()
    lacking = [part for part in ("# " + name, "## What", "## How it hangs", "## How it is seen", "## Cure") if "\n" + part + "\n" not in "\n" + text]
    return "it lacks: " + ", ".join(lacking) if lacking else ""


def check_proof():
    """Its tables are those of the kept runs."""
    report_py, runs, page = (os.path.join(SOURCE, name) for name in ("tests/proof/report.py", "docs/proof/runs.jsonl", "docs/proof.md"))
    made = subprocess.run([sys.executable, report_py, runs], capture_output=True, text=True, check=True).stdout
    with open(page, encoding="utf-8") as f:
        written = f.read().split("<!-- runs -->")
    if len(written) != 3 or not made.strip():
        return "there are no tables"
    return "" if written[1].strip() == made.strip() else "make them anew: tests/proof/report.py docs/proof/runs.jsonl --document docs/proof.md"


def main():
    for page in PAGES:
        report(page + " is well formed", check_form(page))
    told = help_of(STACKCTL)
    report("stackctl(1) has every option", differ(options_told(told), options_described("stackctl.1")))
    report("stackctl(1) has every verb", differ(verbs_told(told), [i.split(" ")[0] for i in items("stackctl.1", "VERBS")]))
    report("stackctl(1) has every key of the document", differ(keys_in_code(), {k for i in items("stackctl.1", "JSON") for k in i.split(", ")}))
    report("stackd(8) has every option", differ(options_told(help_of(STACKD)), options_described("stackd.8")))
    hazards = hazards_in_code()
    for name in hazards:
        report(f"hazard {name} has its page", check_hazard_page(name))
    pages = [n[:-3] for n in os.listdir(os.path.join(SOURCE, "docs/hazards")) if n.endswith(".md")]
    report("every page is about a hazard", differ(hazards, pages))
    report("the catalog has every kind of message", differ(messages_in_code(), messages_in_catalog()))
    report("the tables of docs/proof.md are those of the kept runs", check_proof())
    print(f"1..{number}")
    return failures > 0


sys.exit(main())
