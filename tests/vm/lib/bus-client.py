#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drives the whole D-Bus interface as programs of others would, through a binding of theirs.

usage: bus-client.py dbus|dasbus MOUNTPOINT PID

MOUNTPOINT is served by the process PID, which stackd has marked. Each method is called, each property of each object is
read, each signal is met: the mark is taken off and set again, and at last the file system is unmounted.
"""

import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

from gi.repository import GLib

NAME, PATH = "org.stackd1", "/org/stackd1"
MANAGER, LAYER, PROCESS = (f"{NAME}.{name}" for name in ("Manager", "Layer", "Process"))
OBJECTS, PROPERTIES = "org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Properties"
INTERFACES = pathlib.Path("/usr/share/dbus-1/interfaces")
STANDARD = {f"org.freedesktop.DBus.{name}" for name in ("Peer", "Introspectable", "Properties", "ObjectManager")}
SECONDS = 60
# Everything is read anew before it answers.
CALL_MS = 120_000


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


class DbusPython:
    """python3-dbus"""

    def __init__(self):
        import dbus.mainloop.glib   # pylint: disable=import-outside-toplevel
        self.dbus = dbus
        self.bus = dbus.SystemBus(mainloop=dbus.mainloop.glib.DBusGMainLoop())

    def call(self, path, interface, method, *arguments):
        proxy = self.bus.get_object(NAME, path)
        if arguments == ([],):      # the binding needs to be told of what the empty list is one
            arguments = (self.dbus.Array([], signature="s"),)
        return self.plain(proxy.get_dbus_method(method, interface)(*arguments, timeout=CALL_MS / 1000))

    def variant(self, text):
        return self.dbus.String(text, variant_level=1)

    def error_of(self, *call):
        try:
            self.call(*call)
        except self.dbus.exceptions.DBusException as error:
            return error.get_dbus_name(), error.get_dbus_message()
        return None, None

    def listen(self, told):
        def on_signal(*arguments, member, interface, path):
            told(path, interface, member, self.plain(list(arguments)))
        self.bus.add_signal_receiver(on_signal, bus_name=NAME, member_keyword="member", interface_keyword="interface", path_keyword="path")

    def plain(self, value):
        if isinstance(value, (self.dbus.Dictionary, dict)):
            return {self.plain(key): self.plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(each) for each in value]
        if isinstance(value, self.dbus.Boolean):
            return bool(value)
        if isinstance(value, str):
            return str(value)
        return int(value) if isinstance(value, int) else value


class Dasbus:
    """python3-dasbus, on GIO"""

    def __init__(self):
        import dasbus.connection    # pylint: disable=import-outside-toplevel
        import dasbus.error         # pylint: disable=import-outside-toplevel
        self.rules = dasbus.error.ErrorMapper()
        self.error = dasbus.error.DBusError
        self.bus = dasbus.connection.SystemMessageBus(error_mapper=self.rules)

    def call(self, path, interface, method, *arguments):
        proxy = self.bus.get_proxy(NAME, path, interface)
        return self.plain(getattr(proxy, method)(*arguments, timeout=CALL_MS))

    def variant(self, text):
        return GLib.Variant("s", text)

    def error_of(self, *call):
        try:
            self.call(*call)
        except self.error as error:
            return error.dbus_name, str(error)
        return None, None

    def listen(self, told):
        def on_signal(_connection, _sender, path, interface, member, arguments, *_data):
            told(path, interface, member, self.plain(list(arguments.unpack())))
        self.bus.connection.signal_subscribe(NAME, None, None, None, None, 0, on_signal)

    def plain(self, value):
        if isinstance(value, GLib.Variant):
            return self.plain(value.unpack())
        if isinstance(value, dict):
            return {key: self.plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(each) for each in value]
        return value


class Client:
    """What a program wants to know, and the signals that came."""

    def __init__(self, binding):
        self.binding, self.signals = binding, []
        binding.listen(lambda *signal: self.signals.append(signal))

    def manager(self, method, *arguments):
        return self.binding.call(PATH, MANAGER, method, *arguments)

    def wait(self, what, wanted):
        """Until a signal that is wanted has come."""
        context, late = GLib.MainContext.default(), []
        source = GLib.timeout_source_new(SECONDS * 1000)
        source.set_callback(lambda *_: late.append(True))
        source.attach(context)
        try:
            while not any(wanted(*signal) for signal in self.signals):
                check(not late, f"no signal: {what}; came: {self.signals}")
                context.iteration(True)
        finally:
            source.destroy()


def properties(interface):
    """Those that the installed file declares."""
    root = xml.etree.ElementTree.parse(INTERFACES / f"{interface}.xml").getroot()
    return {each.get("name") for each in root.iter("property")}


def read_everything(client):
    """All objects, and of each all that is declared."""
    objects = client.binding.call(PATH, OBJECTS, "GetManagedObjects")
    count = client.binding.call(PATH, PROPERTIES, "Get", MANAGER, "LayerAndProcessCount")
    check(count == len(objects), count, "objects; they are", sorted(objects))
    check(set(client.binding.call(PATH, PROPERTIES, "GetAll", MANAGER)) == properties(MANAGER), "the manager's properties")
    for path, interfaces in objects.items():
        ours = set(interfaces) - STANDARD
        check(ours in ({LAYER}, {PROCESS}), path, ours)
        interface, = ours
        check(set(interfaces[interface]) == properties(interface), path, "properties")
    for interface in (LAYER, PROCESS):
        path, known = next((path, interfaces[interface]) for path, interfaces in objects.items() if interface in interfaces)
        check(client.binding.call(path, PROPERTIES, "GetAll", interface) == known, path, "told twice, differently")
        check(client.binding.call(path, PROPERTIES, "Get", interface, "Id") == known["Id"], path, "Id")
        check(client.binding.error_of(path, PROPERTIES, "Set", interface, "Id", client.binding.variant(known["Id"]))[0], path, "could be set")
    return objects


def read_documents(client, mountpoint, process):
    whole = json.loads(client.manager("Describe", ""))
    part = json.loads(client.manager("Describe", mountpoint))
    nested = json.loads(client.manager("DescribeNested"))
    check(whole["version"] == part["version"] == nested["version"] == 1, "version")
    check(len(whole["layers"]) > len(part["layers"]) > 0, "part of it")
    check(len(nested["layers"]) + nested["folded"] == len(whole["layers"]), "what is folded")
    check(process in client.manager("LookUp", process.split(":")[1]), "the process by its pid")
    layer, = client.manager("LookUp", mountpoint)
    check(json.loads(client.manager("Plan", []))["actions"] == [], "nothing is left to do")
    check([each["id"] for each in json.loads(client.manager("Explain", [layer, process]))["objects"]] == [layer, process], "explained")
    check(json.loads(client.manager("DumpConfiguration")), "configuration")
    check(client.manager("Reload") == [[], True], "reload")
    client.manager("Refresh")
    client.manager("Subscribe")
    return layer


def meet_errors(client):
    for method, argument in ("LookUp", "/nothing/there"), ("Describe", "/nothing/there"), ("Apply", ["process:1:1"]), ("Revert", ["fs:9:9"]):
        name, message = client.binding.error_of(PATH, MANAGER, method, argument)
        check(name == f"{NAME}.Error.NoSuchObject" and message, method, name, message)
    name, _ = client.binding.error_of(f"{PATH}/layer/none", PROPERTIES, "GetAll", LAYER)
    check(name and name.startswith("org.freedesktop.DBus.Error."), "an object that is not", name)


def change(client, path, process):
    """The mark is taken off and set again; each signal of it comes."""
    def flushers(wanted):
        return lambda p, _i, member, a: p == path and member == "PropertiesChanged" and wanted(a[1].get("ThreadsIOFlusher", -1))

    def about(signal, **expected):
        return lambda _p, interface, member, a: interface == MANAGER and member == signal and \
            expected.items() <= json.loads(a[0]).items()

    pid = int(process.split(":")[1])
    states = {(each["kind"], each["state"]) for each in json.loads(client.manager("Revert", [process]))["actions"]}
    check(("io-flusher", "reverted") in states, states)
    client.wait("reverted", about("ActionDone", kind="io-flusher", state="reverted", target=process))
    client.wait("unmarked", flushers(lambda n: n == 0))
    client.wait("hazard", about("HazardAppeared", id="nofs-missing", pid=pid))
    check(client.binding.call(PATH, PROPERTIES, "Get", MANAGER, "HazardCount") > 0, "hazards")
    client.signals.clear()
    states = {(each["kind"], each["state"]) for each in json.loads(client.manager("Apply", [process]))["actions"]}
    check(("io-flusher", "applied") in states, states)
    client.wait("applied", about("ActionDone", kind="io-flusher", state="applied", target=process))
    client.wait("marked", flushers(lambda n: n > 0))
    client.wait("no hazard", about("HazardGone", id="nofs-missing", pid=pid))


def main():
    binding, mountpoint, pid = sys.argv[1:]
    client = Client({"dbus": DbusPython, "dasbus": Dasbus}[binding]())
    objects = read_everything(client)
    path, process = next((path, interfaces[PROCESS]["Id"]) for path, interfaces in objects.items()
                         if interfaces.get(PROCESS, {}).get("PID") == int(pid))
    layer = read_documents(client, mountpoint, process)
    meet_errors(client)
    change(client, path, process)
    client.signals.clear()
    subprocess.run(["umount", mountpoint], check=True)
    gone = {path, next(path for path, interfaces in objects.items() if interfaces.get(LAYER, {}).get("Id") == layer)}
    for each in gone:
        client.wait(f"{each} has gone", lambda _p, _i, member, a, each=each: member == "InterfacesRemoved" and a[0] == each)
    print(f"{binding}: {len(objects)} objects, all methods, properties and signals")


main()
