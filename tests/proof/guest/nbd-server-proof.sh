# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# nbd_server_up: XFS on a device that nbd-server serves from a file on ext4.

. /usr/lib/stackd-vm/extra/proof.sh

nbd_server_up() {
        lower_up
        truncate --size=4G "$LOWER/image"
        printf '[generic]\nunixsock=/run/nbd.sock\n[e]\nexportname=%s\n' "$LOWER/image" >/run/nbd-server.conf
        systemd-run --quiet --unit=proof-server nbd-server -d -C /run/nbd-server.conf
        nbd_client_up -N e
        xfs_on /dev/nbd0
}
