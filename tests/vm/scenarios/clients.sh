# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Clients of the bus that are not ours drive the whole interface: busctl, gdbus, and programs with python3-dbus and
# python3-dasbus (lib/bus-client.py).
#
# timeout: 300
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs gdbus busctl

MANAGER=(org.stackd1 /org/stackd1 org.stackd1.Manager)

serve() {
        fuse_up single
        server=$(main_pid "$(fuse_unit single)")
        stopwatch 'is_marked "$server"' >/dev/null
        stackd_settled
}

# document: what busctl --json prints of a method that answers with one.
document() {
        jq -er '.data[0]' | jq -e "$1" >/dev/null
}

gdbus_call() {
        gdbus call --system --timeout 120 --dest org.stackd1 --object-path /org/stackd1 --method "org.stackd1.Manager.$1" "${@:2}"
}

fuse_lower_up
systemctl start stackd.service
for binding in dbus dasbus; do
        step "python3-$binding"
        serve
        python3 /usr/lib/stackd-vm/lib/bus-client.py "$binding" "$(fuse_mount single)" "$server"
        wait_for 30 "! systemctl --quiet is-active $(fuse_unit single)"
done

step "busctl"
serve
id=$(busctl --json=short call "${MANAGER[@]}" LookUp s "$server" | jq -er '.data[0][0]')
object=$(busctl --list tree org.stackd1 | grep "/process/process_3a${server}_3a")
assert_eq "$(busctl get-property org.stackd1 "$object" org.stackd1.Process Id)" "s \"$id\""
busctl --json=short call "${MANAGER[@]}" Describe s "" | document '.layers | length > 0'
busctl --json=short call "${MANAGER[@]}" DescribeNested | document '.layers | length > 0'
busctl --json=short call "${MANAGER[@]}" Plan as 0 | document '.actions == []'
busctl --json=short call "${MANAGER[@]}" Explain as 1 "$id" | document ".objects[0].id == \"$id\""
busctl --json=short call "${MANAGER[@]}" Revert as 1 "$id" | document '.actions | any(.kind == "io-flusher" and .state == "reverted")'
assert_unmarked "$server"
busctl --json=short call "${MANAGER[@]}" Apply as 1 "$id" | document '.actions | any(.kind == "io-flusher" and .state == "applied")'
assert_marked "$server"
busctl --json=short call "${MANAGER[@]}" DumpConfiguration | document .
assert_eq "$(busctl call "${MANAGER[@]}" Reload)" "asb 0 true"
busctl call "${MANAGER[@]}" Refresh
busctl call "${MANAGER[@]}" Subscribe
# Each interface shows what its file says.
for interface in Manager Layer Process; do
        case $interface in
        Manager) path=/org/stackd1 ;;
        Layer) path=$(busctl --list tree org.stackd1 | grep -m 1 /layer/.) ;;
        Process) path=$object ;;
        esac
        assert_eq "$(busctl introspect org.stackd1 "$path" "org.stackd1.$interface" | sed -n 's/^\.\([A-Za-z]*\) .*/\1/p' | sort)" \
                "$(sed -nE 's/.*<(method|signal|property) name="([A-Za-z]*)".*/\2/p' "/usr/share/dbus-1/interfaces/org.stackd1.$interface.xml" | sort)" \
                "members of $interface"
done

step "gdbus"
gdbus introspect --system --dest org.stackd1 --object-path /org/stackd1 --recurse >/run/introspected
grep -F "$object" /run/introspected >/dev/null
gdbus monitor --system --dest org.stackd1 --object-path /org/stackd1 >/run/signals &
monitor=$!
wait_for 20 "grep -q 'is owned by' /run/signals"
gdbus_call LookUp "$(fuse_mount single)" | grep -F "(['fs:" >/dev/null
gdbus_call Describe '' | grep -F '"layers"' >/dev/null
gdbus_call DescribeNested | grep -F '"layers"' >/dev/null
gdbus_call Plan '[]' | grep -F '"actions"' >/dev/null
gdbus_call Explain "['$id']" | grep -F '"objects"' >/dev/null
gdbus_call DumpConfiguration | grep -F 90-default.policy >/dev/null
gdbus_call Revert "['$id']" | grep -F reverted >/dev/null
gdbus_call Apply "['$id']" | grep -F applied >/dev/null
assert_eq "$(gdbus_call Reload)" "(@as [], true)"
assert_eq "$(gdbus_call Refresh)" "()"
assert_eq "$(gdbus_call Subscribe)" "()"
refute gdbus_call LookUp /nothing/there 2>/run/stderr
grep -F org.stackd1.Error.NoSuchObject /run/stderr
for signal in ActionDone HazardAppeared HazardGone; do
        wait_for 20 "grep -q '^/org/stackd1: org.stackd1.Manager.$signal (' /run/signals"
done
kill "$monitor"
fuse_down single
fuse_lower_down
assert_no_stack
