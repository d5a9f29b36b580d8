# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# File systems served by a process, each with an ext4 in an image file on it:
#
#   single  bindfs with one thread (libfuse 2)
#   pool    bindfs with threads that come and go with the load
#   clone   fuse2fs, each of whose threads has a /dev/fuse of its own, run by an
#           ordinary user and mounted by fusermount3 (libfuse 3)
#
# All share one lower ext4 on a data disk: fuse_lower_up, then for any KIND of
# them fuse_up KIND and fuse_inner_up KIND; down again in reverse.

FUSE_KINDS=(single pool)
# Older suites have it made with libfuse 2, which cannot.
! ldd "$(command -v fuse2fs)" | grep -q libfuse3 || FUSE_KINDS+=(clone)
FUSE_LOWER=/srv/fuse-lower
FUSE_UNIT_OPTIONS=()    # of systemd-run

fuse_mount() {
        echo "/mnt/fuse-$1"
}

fuse_inner() {
        echo "/mnt/fuse-inner-$1"
}

fuse_unit() {
        echo "fuse-$1.service"
}

fuse_lower_up() {
        modprobe fuse
        format_and_mount /dev/disk/by-id/virtio-data2 "$FUSE_LOWER"
}

fuse_lower_down() {
        umount "$FUSE_LOWER"
}

# fuse_allow_other: users' file systems may be for others too (bindfs asks for it by itself).
fuse_allow_other() {
        grep -qx user_allow_other /etc/fuse.conf || echo user_allow_other >>/etc/fuse.conf
}

fuse_up() {
        local kind=$1 below=$FUSE_LOWER/$1 above run=() server=()
        above=$(fuse_mount "$kind")
        mkdir -p "$below" "$above"
        case $kind in
        single)
                server=(bindfs -f "$below" "$above")
                ;;
        pool)
                server=(bindfs -f --multithreaded "$below" "$above")
                ;;
        clone)
                fuse_allow_other
                truncate --size=1G "$below/fuse2fs.img"
                mkfs.ext4 -qF -E nodiscard,lazy_itable_init=1 "$below/fuse2fs.img"
                chown -R user: "$below" "$above"
                run=(--uid=user)
                # The loop device above opens files as root.
                server=(fuse2fs -f -o clone_fd,allow_other,fakeroot "$below/fuse2fs.img" "$above")
                ;;
        esac
        # A unit each, as a real one has.
        systemd-run --quiet --unit="$(fuse_unit "$kind")" --collect "${run[@]}" "${FUSE_UNIT_OPTIONS[@]}" "${server[@]}"
        wait_for 30 "mountpoint --quiet '$above'"
}

fuse_down() {
        umount "$(fuse_mount "$1")"
        wait_for 30 "! systemctl --quiet is-active '$(fuse_unit "$1")'"
}

fuse_inner_up() {
        local image
        image=$(fuse_mount "$1")/inner.img
        truncate --size=128M "$image"
        losetup --find "$image"
        format_and_mount "$(loop_of "$image")" "$(fuse_inner "$1")"
}

fuse_inner_down() {
        umount "$(fuse_inner "$1")"
        losetup --detach "$(loop_of "$(fuse_mount "$1")/inner.img")"
}
