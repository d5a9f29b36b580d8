# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What a desktop, a container host and a machine with compressed swap have all the time is no hazard, and nothing of its
# users is touched: portals and other FUSE file systems of a user's session, squashfs images on loop devices, overlays
# in namespaces of their own, one by a user's fuse-overlayfs, zram. It is one as soon as root mounts what lies on a user's.
#
# timeout: 300
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs mksquashfs fuse-overlayfs zramctl setpriv

uid=$(id -u user)
session=/run/user/$uid
portals=(doc gvfs)

as_user() {
        setpriv --reuid=user --regid=user --init-groups env -i PATH="$PATH" HOME=/home/user XDG_RUNTIME_DIR="$session" "$@"
}

# user_service NAME COMMAND...
user_service() {
        as_user systemd-run --user --quiet --collect --unit="$1" "${@:2}"
}

healthy() {
        stackd_settled
        stackctl --no-pager check | tee /run/check
        assert_eq "$(cat /run/check)" "No hazards."
}

# nothing_of_users: no process of theirs is changed, and nothing that they have mounted.
nothing_of_users() {
        stackctl --json=short status | jq -e --argjson uid "$uid" '
                . as $all
                | ($all.processes | map(select(.uid == $uid))) as $theirs
                | ($theirs | length > 0 and all(.entitled == false and .io_flusher == "none" and .memory_min == 0)) and
                  ($all.actions | all(.target as $t | $theirs | all(.id != $t)))' >/dev/null
}

fuse_allow_other
fuse_lower_up
systemctl start stackd.service
step "a session of a user, with portals"
systemctl start "user@$uid.service"
wait_for 60 "[[ -S $session/systemd/private ]]"
for portal in "${portals[@]}"; do
        as_user mkdir -p "/home/user/$portal" "$session/$portal"
        user_service "$portal" bindfs -f -o "subtype=$portal,fsname=$portal,allow_other" "/home/user/$portal" "$session/$portal"
        wait_for 30 "mountpoint --quiet $session/$portal"
done
healthy

step "images as snaps and AppImages have them"
mkdir -p "$FUSE_LOWER/snaps" /run/tree
head -c 3M /dev/urandom >/run/tree/file
mksquashfs /run/tree /run/tree.snap -quiet -no-progress >/dev/null
for i in {1..12}; do
        cp /run/tree.snap "$FUSE_LOWER/snaps/$i.snap"
        mkdir -p "/mnt/snap-$i"
        mount -o loop,ro,nodev "$FUSE_LOWER/snaps/$i.snap" "/mnt/snap-$i"
done
healthy

step "containers: root's on an overlay, the user's on fuse-overlayfs, each in namespaces of its own"
mkdir -p "$FUSE_LOWER"/container/{lower,upper,work,merged}
# As in any container its first process does not hear SIGTERM.
systemd-run --quiet --unit=container --slice=machine.slice --property=KillSignal=SIGKILL unshare --mount --pid --fork sh -c "
        mount -t overlay overlay -o lowerdir=$FUSE_LOWER/container/lower,upperdir=$FUSE_LOWER/container/upper,workdir=$FUSE_LOWER/container/work $FUSE_LOWER/container/merged
        echo up >/run/container.up
        exec sleep infinity"
as_user mkdir -p /home/user/container/{lower,upper,work,merged}
user_service pod unshare --map-root-user --mount sh -c "
        cd /home/user/container
        fuse-overlayfs -o lowerdir=lower,upperdir=upper,workdir=work merged
        echo up >$session/pod.up
        exec sleep infinity"
wait_for 60 "[[ -e /run/container.up && -e $session/pod.up ]]"
healthy
stackctl --json=short status | jq -e '[.layers[].type] | (map(select(. == "overlay")) | length == 1) and (map(select(. == "fuse.fuse-overlayfs")) | length == 1)' >/dev/null

step "swap on zram"
modprobe zram
echo 64M >/sys/block/zram0/disksize
mkswap --quiet /dev/zram0
swapon /dev/zram0
healthy

step "and a FUSE file system of a system service, which is protected"
fuse_up pool
stackd_settled
assert_marked "$(main_pid "$(fuse_unit pool)")"
healthy
nothing_of_users
stackctl --no-pager status

step "foreign-user: root mounts an image that lies on a portal"
image=$session/doc/image
as_user truncate --size=64M /home/user/doc/image       # what its server may not write becomes a disk that cannot be written
losetup --find "$image"
device=$(loop_of "$image")
format_and_mount "$device" /mnt/image
stackd_settled
status=0
stackctl --no-pager check | tee /run/check || status=$?
assert_eq "$status" 1 "exit status of check"
stackctl --json=short status | jq -e --argjson uid "$uid" '
        . as $all
        | .hazards | length == 1 and
          (.[0] | .id == "foreign-user" and .severity == "notice" and
           (.layer as $l | $all.layers | any(.id == $l and .mounts == ["/mnt/image"])) and
           (.pid as $p | $all.processes | any(.pid == $p and .uid == $uid and .comm == "bindfs")))' >/dev/null
nothing_of_users
umount /mnt/image
losetup --detach "$device"
healthy

swapoff /dev/zram0
wait_for 20 'modprobe --remove zram 2>/dev/null'
fuse_down pool
for i in {1..12}; do
        umount "/mnt/snap-$i"
done
systemctl stop container.service
as_user systemctl --user stop pod.service
for portal in "${portals[@]}"; do
        umount "$session/$portal"
done
systemctl stop "user@$uid.service"
fuse_lower_down
assert_no_stack
