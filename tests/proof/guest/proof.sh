# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What every proof sources. Nothing here, nor in a proof, knows of stackd.

. /usr/lib/stackd-vm/lib/lib.sh

SEED=${PROOF_SEED:-1}
LOWER=/srv/lower
UPPER=/mnt/upper

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

# drive PROGRESS UNIT [OPTION...]: the load; its lines are the result.
drive() {
        local progress=$1 unit=$2
        shift 2
        eval "${PROOF_BEFORE:-}"        # an experiment's own
        printf '{"event": "kernel", "release": "%s"}\n' "$(uname -r)"
        exec /usr/lib/stackd-vm/extra/drive.py --mount "$UPPER" --progress "$progress" --server "$unit" --seed "$SEED" "$@"
}
