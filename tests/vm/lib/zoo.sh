# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Comparing the whole graph, with what other tools say and with what a person says.

# _agrees WHAT PROGRAM [ARGUMENT...]: until it says so. What only a probe tells comes a moment after the rest.
_agrees() {
        local deadline=$((SECONDS + 20))
        stackd_settled
        until python3 "/usr/lib/stackd-vm/lib/$2" "${@:3}" >/run/zoo-differences 2>&1; do
                if ((SECONDS >= deadline)); then
                        cat /run/zoo-differences >&2
                        fail "the graph is not what $1 says: $(head -5 /run/zoo-differences | paste -sd';')"
                fi
                stackd_settled
        done
        tail -1 /run/zoo-differences
}

# oracles [NAME...]: stackd's graph is that of lsblk, findmnt, dmsetup and the like, both ways.
oracles() {
        _agrees "the other tools" oracle.py "$@"
}

# captured: a capture of this machine says the same as the machine does, to us and to lsblk and findmnt.
captured() {
        _agrees "its capture" captured.py
}

# zoo_base: what is there now is no part of the zoo.
zoo_base() {
        python3 /usr/lib/stackd-vm/lib/expect.py base /run/zoo-base
}

# expect_table: the graph is what the table on standard input says, both ways; see expect.py.
expect_table() {
        cat >/run/zoo-table
        _agrees "the table" expect.py check /run/zoo-base /run/zoo-table
}

# loop_up FILE [OPTION...]: binds a loop device to the file and says its name.
loop_up() {
        losetup --find --show "${@:2}" "$1"
}

# loop_down FILE
loop_down() {
        local device
        device=$(loop_of "$1")
        losetup --detach "$device"
        wait_for 20 "! losetup $device &>/dev/null"
}
