#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The interfaces that stackd has on the bus are those in dbus/, and org.stackd1(5) describes them all.

Usage: test-introspection.py INTROSPECT STACKD SOURCE-DIRECTORY
With UPDATE_GOLDEN=1 the files in dbus/ are written anew: what is taken out or changed there breaks clients.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET

INTROSPECT, STACKD, SOURCE = (os.path.abspath(p) for p in sys.argv[1:4])
HEAD = ('<?xml version="1.0"?>\n<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->\n'
        '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
        ' "https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n')
failures = number = 0


def report(name, problem):
    global failures, number
    number += 1
    failures += bool(problem)
    print(f"{'not ok' if problem else 'ok'} {number} - {name}")
    for line in str(problem or "").splitlines():
        print("# " + line)


def interfaces():
    """name -> element, as the daemon tells them of a captured machine."""
    with tempfile.TemporaryDirectory() as root:
        with tarfile.open(os.path.join(SOURCE, "tests/fixtures/tcmu.tar.gz")) as archive:
            archive.extractall(root)
        output = subprocess.run([INTROSPECT, STACKD, root], check=True, capture_output=True, timeout=60).stdout
    found = {}
    for document in output.decode().split("\0"):
        for element in ET.fromstring(document).iter("interface") if document.strip() else ():
            if element.get("name").startswith("org.stackd1."):
                found[element.get("name")] = element
    return found


def spell(element):
    node = ET.Element("node")
    for part in element.iter():
        part.text = part.text if part.text and part.text.strip() else None
    node.append(element)
    ET.indent(node)
    return HEAD + ET.tostring(node, encoding="unicode") + "\n"


def man_items():
    """interface -> what stands in the page's section of that name, as headings."""
    with open(os.path.join(SOURCE, "man/org.stackd1.5"), encoding="utf-8") as f:
        lines = f.read().splitlines()
    found, section = {}, None
    for line, after in zip(lines, lines[1:] + [""]):
        if line.startswith((".SH", ".SS")):
            section = line[3:].strip().strip('"')
        elif line == ".TP":
            found.setdefault(section, []).append(re.match(r"\.[A-Z]+ \"?(\w+)|", after)[1])
    return found


def main():
    told = interfaces()
    report("three interfaces", "" if sorted(told) == ["org.stackd1.Layer", "org.stackd1.Manager", "org.stackd1.Process"] else sorted(told))
    items = man_items()
    for name, element in sorted(told.items()):
        path = os.path.join(SOURCE, "dbus", name + ".xml")
        if os.environ.get("UPDATE_GOLDEN"):
            with open(path, "w", encoding="utf-8") as f:
                f.write(spell(element))
        try:
            with open(path, encoding="utf-8") as f:
                known = f.read()
        except FileNotFoundError:
            known = ""
        report(f"{name} is as in dbus/", "" if known == spell(element) else "stackd has:\n" + spell(element))
        members = sorted(m.get("name") for m in element if m.tag in ("method", "signal", "property"))
        page = sorted(items.get(name, []))
        report(f"{name} is described in org.stackd1(5)",
               "" if members == page and members else f"not in the page: {sorted(set(members) - set(page))}; not in stackd: {sorted(set(page) - set(members))}")
    print(f"1..{number}")
    return failures > 0


sys.exit(main())
