# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What every proof sources. Nothing in a proof knows of stackd.

. /usr/lib/stackd-vm/lib/lib.sh

SEED=${PROOF_SEED:-1}
LOWER=/srv/lower
UPPER=/mnt/upper

# A part of stackd may be switched off, to see whether it is the one that matters.
if [[ -n ${PROOF_POLICY:-} ]]; then
        mkdir -p /etc/stackd/policy
        printf %s "$PROOF_POLICY" >/etc/stackd/policy/10-proof.policy
fi

# lower_up: the ext4 that holds the servers' files.
lower_up() {
        format_and_mount /dev/disk/by-id/virtio-data1 "$LOWER"
}

# xfs_on DEVICE [OPTION...]
xfs_on() {
        local device=$1
        shift
        mkfs.xfs -q -f -K "$@" "$device"
        mkdir -p "$UPPER"
        mount "$device" "$UPPER"
}

# nbd_client_up [OPTION...]: /dev/nbd0 of the server at /run/nbd.sock.
nbd_client_up() {
        wait_for 30 '[[ -S /run/nbd.sock ]]'
        modprobe nbd
        udevadm settle         # which has each of them open for a moment, and the kernel then calls it busy
        nbd-client -unix /run/nbd.sock "$@" /dev/nbd0 >/dev/null
        wait_for 30 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
}

# quiet: until the guest has done what the mount made it do, and has idled for a second.
quiet() {
        local deadline=$((SECONDS + 120)) user nice system irq softirq before now=0
        udevadm settle
        while :; do
                before=$now
                read -r _ user nice system _ _ irq softirq _ </proc/stat
                now=$((user + nice + system + irq + softirq))
                ((now - before < 20)) && break  # hundredths of a second of all processors
                ((SECONDS < deadline)) || fail "the guest does not come to rest"
                sleep 1
        done
}

# drive PROGRESS UNIT [OPTION...]: the load; its lines are the result.
drive() {
        local progress=$1 unit=$2
        shift 2
        quiet
        eval "${PROOF_BEFORE:-}"        # an experiment's own
        printf '{"event": "kernel", "release": "%s"}\n' "$(uname -r)"
        exec /usr/lib/stackd-vm/extra/drive.py --progress "$progress" --server "$unit" --mount "$UPPER" --seed "$SEED" "$@"
}
