# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Run in the guest: unpacks the payload over / and does what the maintainer
# script of a package would. Nothing is started here; that is udev's to do.
set -eu
drive=/dev/disk/by-id/virtio-payload

# udev has looked at the drive when it was still empty.
blockdev --flushbufs "$drive"
tar -xf "$drive" -C / --no-overwrite-dir --keep-directory-symlink

# With nothing but scenarios there is nothing to make known, and a reload takes
# seconds under emulation.
tar -tf "$drive" | grep -qv '^usr/lib/stackd-vm/' || exit 0

list() {
        tar -tf "$drive" | sed -n "s,^\($1/.*\.conf\)\$,/\1,p"
}
sysusers=$(list usr/lib/sysusers.d)
tmpfiles=$(list usr/lib/tmpfiles.d)
[ -z "$sysusers" ] || systemd-sysusers $sysusers
[ -z "$tmpfiles" ] || systemd-tmpfiles --create $tmpfiles

ldconfig
systemctl daemon-reload
udevadm control --reload
busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
