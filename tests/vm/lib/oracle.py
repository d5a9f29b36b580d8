#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares stackd's graph with what the field's own tools report, both ways.

Each device, dependency, mount and swap area that they know must be in the graph,
and nothing may be there that the machine has not. Prints each difference; exit
status 1 if there is one. With arguments only these oracles are asked.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys

differences = []


def differ(text):
    differences.append(text)
    print("difference:", text)


def output(*argv, check=True):
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, errors="surrogateescape", check=check).stdout


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


class Graph:
    def __init__(self):
        document = json.loads(output("stackctl", "--json=short", "status"))
        self.layers = {layer["id"]: layer for layer in document["layers"]}
        self.processes = document["processes"]
        self.blocks = {layer["device"]: layer for layer in self.layers.values() if layer["kind"] == "block"}
        self.filesystems = {layer["device"]: layer for layer in self.layers.values() if layer["kind"] == "filesystem"}

    def lower(self, layer):
        return {edge["id"] for edge in layer["lower"]}


def check_edge(graph, tool, upper, lower):
    """Devices by number."""
    if upper not in graph.blocks:
        differ(f"{tool}: no layer for {upper}")
    elif f"block:{lower}" not in graph.lower(graph.blocks[upper]):
        differ(f"{tool}: {upper} stands on {lower}, the graph has {graph.lower(graph.blocks[upper])}")


def walk(rows, parent=None):
    """Yields each device of lsblk's tree with each of its parents."""
    for row in rows:
        yield row, parent
        yield from walk(row.get("children", ()), row)


def lsblk(graph):
    pairs = list(walk(json.loads(output("lsblk", "--json", "--bytes", "--tree", "--output=KNAME,MAJ:MIN,SIZE"))["blockdevices"]))
    everything = json.loads(output("lsblk", "--json", "--list", "--all", "--output=KNAME,MAJ:MIN"))["blockdevices"]
    # It leaves out what stands on a device that is gone, such as a dm device whose table still has that open.
    known = {row["maj:min"] for row in everything} | {read(path) for path in glob.glob("/sys/class/block/*/dev")}
    parents = set(dm_dependencies(graph))
    for row, parent in pairs:
        # It lists some that were connected once.
        if row["kname"].startswith("nbd") and row["size"] == 0:
            continue
        if row["maj:min"] not in graph.blocks:
            differ(f"lsblk: {row['kname']} is not in the graph")
        elif graph.blocks[row["maj:min"]]["name"] != row["kname"]:
            differ(f"lsblk: {row['maj:min']} is {row['kname']}, not {graph.blocks[row['maj:min']]['name']}")
        if parent:
            check_edge(graph, "lsblk", row["maj:min"], parent["maj:min"])
            parents.add((row["maj:min"], parent["maj:min"]))
    for device, layer in graph.blocks.items():
        if device not in known:
            differ(f"lsblk: does not know {layer['name']} ({device})")
        for lower in graph.lower(layer):
            # zram's backing device, the container of an md array and what a SCSI or NVMe target exports are more than lsblk tells.
            if lower.startswith("block:") and (device, lower[6:]) not in parents and not layer["name"].startswith(("zram", "md", "sd", "nvme")):
                differ(f"lsblk: does not know that {layer['name']} stands on {lower}")


def findmnt(graph):
    rows = json.loads(output("findmnt", "--json", "--list", "--output=TARGET,FSTYPE,MAJ:MIN"))["filesystems"]
    targets = set()
    for row in rows:
        layer = graph.filesystems.get(row["maj:min"])
        targets.add((row["maj:min"], row["target"]))
        if not layer:
            differ(f"findmnt: {row['target']} is not in the graph")
        elif row["target"] not in layer["mounts"] or layer["type"] != row["fstype"]:
            differ(f"findmnt: {row['target']} is {row['fstype']}, the graph has {layer['type']} at {layer['mounts']}")
    for device, layer in graph.filesystems.items():
        for target in layer["mounts"]:
            if (device, target) not in targets and not in_other_namespace(device):
                differ(f"findmnt: nothing of {device} is mounted at {target}")


def in_other_namespace(device):
    """Mounted only where findmnt does not look (a service's own namespace)."""
    with open("/proc/1/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return not any(line.split()[2] == device for line in file)


def swaps(graph):
    with open("/proc/swaps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[0]) for line in list(file)[1:]}
    ours = {layer["path"] for layer in graph.layers.values() if layer["kind"] == "swap"}
    if paths != ours:
        differ(f"/proc/swaps: {paths}, the graph has {ours}")


def losetup(graph):
    text = output("losetup", "--json", "--list", "--output=NAME,MAJ:MIN,BACK-FILE,BACK-INO")
    rows = json.loads(text)["loopdevices"] if text.strip() else []
    for row in rows:
        layer = graph.blocks.get(row["maj:min"].strip())
        files = [graph.layers[i] for i in graph.lower(layer)] if layer else []
        if len(files) != 1 or files[0]["path"].removesuffix(" (deleted)") != row["back-file"].removesuffix(" (deleted)"):
            differ(f"losetup: {row}, the graph has {[f['path'] for f in files]}")
        # Neither is told when the server of the file system below is dead.
        elif row["back-ino"] and not files[0]["incomplete"] and not files[0]["id"].endswith(f":{row['back-ino']}"):
            differ(f"losetup: inode {row['back-ino']}, the graph has {files[0]['id']}")
    ours = {device for device, layer in graph.blocks.items() if layer["type"] == "loop"}
    if ours != {row["maj:min"].strip() for row in rows}:
        differ(f"losetup: {rows}, the graph has {ours}")


def dm_dependencies(graph):
    """Yields each dm device with each that its table names."""
    for line in output("dmsetup", "--manglename=none", "deps", "-o", "devno").splitlines():
        match = re.match(r"(.+): \d+ dependenc\S+\s*:\s*(.*)", line)
        if not match:
            continue
        upper = next((d for d, l in graph.blocks.items() if l["label"] == match[1]), None)
        if not upper:
            differ(f"dmsetup: {match[1]} is not in the graph")
            continue
        for major, minor in re.findall(r"\((\d+), (\d+)\)", match[2]):
            yield upper, f"{major}:{minor}"


def dmsetup(graph):
    for upper, lower in dm_dependencies(graph):
        check_edge(graph, "dmsetup", upper, lower)
    for line in output("dmsetup", "--manglename=none", "table").splitlines():
        match = re.match(r"(.+): \d+ \d+ (\S+)", line)
        layer = match and next((l for l in graph.blocks.values() if l["label"] == match[1]), None)
        if match and (not layer or match[2] not in layer["type"].removeprefix("dm-").split(",")):
            differ(f"dmsetup: {match[1]} is {match[2]}, the graph has {layer and layer['type']}")


def btrfs(graph):
    if not shutil.which("btrfs"):
        return
    for chunk in output("btrfs", "filesystem", "show", "--mounted", check=False).split("Label:")[1:]:
        paths = re.findall(r"path (\S+)", chunk)
        names = {path.rpartition("/")[2] for path in paths}
        members = [{graph.layers[i]["name"] for i in graph.lower(layer)} for layer in graph.filesystems.values() if layer["type"] == "btrfs"]
        labels = [{graph.layers[i]["label"] or graph.layers[i]["name"] for i in graph.lower(layer)} for layer in graph.filesystems.values() if layer["type"] == "btrfs"]
        if names not in members and names not in labels:
            differ(f"btrfs: a file system on {names}, the graph has {members}")


def below(graph, layer):
    """Everything below a layer."""
    found, todo = set(), [layer["id"]]
    while todo:
        for identity in graph.lower(graph.layers[todo.pop()]) - found:
            found.add(identity)
            if identity in graph.layers:
                todo.append(identity)
    return found


def lvs(graph):
    if not any(layer["label"] for layer in graph.blocks.values()):
        return
    report = json.loads(output("lvs", "--all", "--reportformat=json", "--options=vg_name,lv_name,lv_kernel_major,lv_kernel_minor,devices"))
    volumes = report["report"][0]["lv"]
    active = {(lv["vg_name"], lv["lv_name"].strip("[]")): f"{lv['lv_kernel_major']}:{lv['lv_kernel_minor']}"
              for lv in volumes if lv["lv_kernel_major"] not in ("", "-1")}
    for lv in volumes:
        upper = active.get((lv["vg_name"], lv["lv_name"].strip("[]")))
        if upper and upper not in graph.blocks:
            differ(f"lvs: {lv['vg_name']}/{lv['lv_name']} is not in the graph")
        # "/dev/vdb(0)", or another volume: "pool_tdata(0)"; what the kernel has in between is not lvs's business.
        for name in re.findall(r"([^,()]+)\(\d+\)", lv["devices"]) if upper in graph.blocks else ():
            lower = active.get((lv["vg_name"], name)) or \
                next((device for device, layer in graph.blocks.items() if layer["name"] == os.path.basename(os.path.realpath(name))), None)
            if lower and f"block:{lower}" not in below(graph, graph.blocks[upper]):
                differ(f"lvs: {lv['lv_name']} is on {name} ({lower}), the graph has {below(graph, graph.blocks[upper])}")


def mdadm(graph):
    for device, layer in graph.blocks.items():
        if layer["type"] != "md":
            continue
        text = output("mdadm", "--detail", "--export", f"/dev/{layer['name']}", check=False)
        members = {os.path.basename(os.path.realpath(path)) for path in re.findall(r"MD_DEVICE_\S+_DEV=(\S+)", text)}
        have = {graph.layers[i]["name"] for i in graph.lower(layer) if graph.layers[i]["type"] != "md"}
        if members != have:
            differ(f"mdadm: {layer['name']} ({device}) is on {members}, the graph has {have}")


def nbd(graph):
    connected = {path.rpartition("/")[2] for path in glob.glob("/sys/block/nbd*") if read(f"{path}/size") != "0"
                 if subprocess.run(["nbd-client", "-c", f"/dev/{path.rpartition('/')[2]}"], stdout=subprocess.DEVNULL, check=False).returncode == 0}
    ours = {layer["name"] for layer in graph.blocks.values() if layer["type"] == "nbd"}
    # One that lost its server keeps its size for as long as it is in use.
    in_use = {path.rpartition("/")[2] for path in glob.glob("/sys/block/nbd*") if read(f"{path}/size") != "0"}
    if not connected <= ours <= in_use:
        differ(f"nbd-client: {connected} are connected, the graph has {ours}")


def targetcli(graph):
    """Each backstore's file or device, where it comes back to this machine, and nothing else, is below a SCSI disk, or its handler."""
    if not shutil.which("targetcli") or not glob.glob("/sys/kernel/config/target/core/*/*/udev_path"):
        return
    backing, kind = set(), ""
    for line in output("targetcli", "ls", "/backstores").splitlines():
        if match := re.match(r"  o- (\S+)", line):
            kind = match[1]
        elif match := re.search(r"\[(/\S+) \(", line):
            path = os.path.realpath(match[1]) if match[1].startswith("/dev/") else match[1]
            if not kind.startswith("user:"):
                backing.add(path)
            elif not any(layer["path"] == path and any(upper.startswith("process:") for upper in layer["upper"]) for layer in graph.layers.values()):
                differ(f"targetcli: {kind} has {path}, which is below no process")
    ours = set()
    for layer in graph.blocks.values():
        for lower in (graph.layers[i] for i in graph.lower(layer) if layer["name"].startswith("sd") and not layer["type"] == "partition"):
            ours.add(lower["path"] or f"/dev/{lower['name']}")
    if backing != ours:
        differ(f"targetcli: {backing}, the graph has {ours}")


def unmounted(graph):
    """What lives and is mounted nowhere, by the kernel's own lists."""
    listed = {(os.path.basename(os.path.dirname(path)), read(f"/sys/class/block/{os.path.basename(path)}/dev"))
              for kind in ("ext4", "xfs", "f2fs") for path in glob.glob(f"/sys/fs/{kind}/*")}
    listed |= {("bdi", name.removesuffix("-fuseblk")) for name in os.listdir("/sys/class/bdi") if name.startswith("0:") or name.endswith("-fuseblk")}
    alive = {device for _, device in listed if device}
    ours = {layer["device"] for layer in graph.layers.values() if layer["kind"] == "filesystem" and not layer["mounts"] and layer["type"] not in ("btrfs", "unknown")}
    if not ours <= alive:
        differ(f"unmounted: {ours - alive} do not live")
    if not alive <= set(graph.filesystems):
        differ(f"unmounted: {alive - set(graph.filesystems)} live, and are not in the graph")
    for layer in graph.layers.values():
        if layer["type"] == "btrfs" and not layer["device"] and not os.path.isdir(f"/sys/fs/btrfs/{layer['name']}"):
            differ(f"unmounted: btrfs {layer['name']} does not live")


def existence(graph):
    """No file that nothing stands on, no process that is gone."""
    for layer in graph.layers.values():
        if layer["kind"] == "file" and not layer["upper"]:
            differ(f"{layer['path']} is in the graph for nobody")
    for process in graph.processes:
        try:
            with open(f"/proc/{process['pid']}/stat", encoding="utf-8", errors="replace") as file:
                start = int(file.read().rpartition(")")[2].split()[19])
        except OSError:
            start = None
        if start != process["start"]:
            differ(f"process {process['pid']} ({process['comm']}) does not exist")


def main():
    graph = Graph()
    oracles = lsblk, findmnt, swaps, losetup, dmsetup, btrfs, lvs, mdadm, nbd, targetcli, unmounted, existence
    for oracle in oracles:
        if oracle.__name__ in sys.argv[1:] or len(sys.argv) == 1:
            oracle(graph)
    print(f"oracles: {len(graph.layers)} layers, {len(differences)} differences")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
