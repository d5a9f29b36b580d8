# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Options of mounts and file systems, limits of writeback and direct I/O of loop
# devices, as policy files ask for them: done, as the kernel tells; done once;
# someone else's change left alone; refused where the kernel refuses; undone to
# what was there before, or gone with their device.
#
# timeout: 400
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs mksquashfs

LOWER=/srv/tune
BIND=/srv/tune-bind
INNER=/mnt/tune

# options MOUNTPOINT, super_options MOUNTPOINT: as the kernel prints them.
options() {
        awk -v m="$1" '$5 == m { print $6 }' /proc/self/mountinfo
}

super_options() {
        awk -v m="$1" '$5 == m { print $NF }' /proc/self/mountinfo
}

bdi_of() {
        echo "/sys/class/bdi/$(mountpoint --fs-devno "$1")"
}

# limits MOUNTPOINT: its share in parts of a million, and whether it is strict.
# What was said in bytes is another share each time; here it is only less than all.
limits() {
        local share
        share=$(cat "$(bdi_of "$1")/max_ratio_fine")
        [[ $1 != "$INNER" ]] || ((share == 1000000)) || share=less
        echo "$share $(cat "$(bdi_of "$1")/strict_limit")"
}

reload() {
        busctl --json=short call org.stackd1 /org/stackd1 org.stackd1.Manager Reload >/run/reload
        assert_eq "$(jq -c '.data' /run/reload)" '[[],true]' "what Reload said"
        stackd_settled
}

state() {
        echo "$(options $LOWER) | $(options $BIND) | $(super_options $LOWER) | $(limits $LOWER) | $(options $INNER) | $(super_options $INNER) |" \
                "$(limits $INNER) | $(cat "/sys/block/${loop##*/}/loop/dio")"
}

changes_made() {
        journalctl --quiet _COMM=stackd --output=cat | grep -cE '^(Set|Restored) ' || :
}

step "a stack"
format_and_mount /dev/disk/by-id/virtio-data1 $LOWER
mkdir -p $BIND
mount --bind $LOWER $BIND
mount -o remount,bind,noexec $BIND
truncate --size=256M $LOWER/image
losetup --find $LOWER/image
loop=$(loop_of $LOWER/image)
format_and_mount "$loop" $INNER
wait_for 20 'systemctl --quiet is-active stackd.service'
stackd_settled
before=$(state)
step "before: $before"

mkdir -p /etc/stackd/policy
cat >/etc/stackd/policy/10-lower.policy <<POLICY
[Match]
Mount=$LOWER
[Mount]
Options=relatime,nodev,commit=17,lazytime,data=journal
[Writeback]
MaxRatio=40
StrictLimit=yes
POLICY
cat >/etc/stackd/policy/10-inner.policy <<POLICY
[Match]
Mount=$INNER
[Mount]
Options=commit=60
[Writeback]
MaxBytes=1M
POLICY
cat >/etc/stackd/policy/10-loop.policy <<POLICY
[Match]
Layer=loop
[Block]
DirectIO=yes
POLICY
reload
after=$(state)
step "after:  $after"
for mount in $LOWER $BIND; do
        [[ ,$(options $mount), == *,relatime,* && ,$(options $mount), == *,nodev,* ]] || fail "$mount: $(options $mount)"
done
[[ ,$(options $BIND), == *,noexec,* && ,$(options $LOWER), != *,noexec,* ]] || fail "options of others changed"
[[ ,$(super_options $LOWER), == *,commit=17,* && ,$(super_options $LOWER), == *,lazytime* ]] || fail "$(super_options $LOWER)"
[[ ,$(super_options $INNER), == *,commit=60,* ]] || fail "$(super_options $INNER)"
assert_eq "$(limits $LOWER)" "400000 1"
assert_eq "$(limits $INNER)" "less 0"
assert_eq "$(cat "/sys/block/${loop##*/}/loop/dio")" 1
verify_io $INNER 16

step "what has no way back is refused, and said"
status=0
stackctl plan >/run/plan 2>&1 || status=$?
cat /run/plan
assert_eq "$status" 1
assert_eq "$(grep -c 'would not change' /run/plan)" 1
grep -q 'mount-option data=journal of .*: of ext4 it is not known how' /run/plan
stackctl --json=short status | jq -er '.actions[] | select(.kind == "mount-option" and .key == "commit") | "\(.target) \(.from) \(.to) \(.state) \(.rule)"' | sort
assert_eq "$(stackctl --json=short status | jq '[.actions[] | select(.state == "applied")] | length')" 11

step "again: nothing changes, not after a restart, kill -9, a reload"
made=$(changes_made)
stackctl apply || :
systemctl restart stackd.service
stackd_settled
kill -KILL "$(main_pid stackd.service)"
wait_for 20 'systemctl --quiet is-active stackd.service && stackctl status >/dev/null'
reload
assert_eq "$(state)" "$after"
assert_eq "$(changes_made)" "$made" "changes made"

step "someone else's changes are left alone"
mount -o remount,commit=9 $LOWER
mount -o remount,bind,noatime,nodev $LOWER
echo 10 >"$(bdi_of $LOWER)/max_ratio"
losetup --direct-io=off "$loop"
stackd_settled
others=$(state)
status=0
stackctl plan >/run/plan 2>&1 || status=$?
assert_eq "$(grep -c "someone else has set it to" /run/plan)" 2 "settings that someone else has changed"
assert_eq "$(grep -c "someone else has set it back to" /run/plan)" 2 "settings that someone else has put back"
stackctl revert >/run/revert
assert_eq "$(grep -c 'which someone else has set meanwhile, and is left so' /run/revert)" 2
stackd_settled
step "reverted: $(state)"
# The interval and the share are theirs. What they have put back is as an undo leaves it.
[[ ,$(super_options $LOWER), == *,commit=9* ]] || fail "$(super_options $LOWER)"
assert_eq "$(limits $LOWER)" "100000 0"
mount -o remount,commit=5 $LOWER
echo 100 >"$(bdi_of $LOWER)/max_ratio"
assert_eq "$(state)" "$before"
[[ $others != "$after" ]]

step "applied and reverted: exactly as before"
stackctl apply >/dev/null || :
assert_eq "$(state)" "$after"
stackctl revert >/dev/null
assert_eq "$(state)" "$before"
stackctl apply >/dev/null || :
assert_eq "$(state)" "$after"

step "killed at any moment"
for round in {1..6}; do
        deed=Revert
        ((round % 2)) || deed=Apply
        busctl call org.stackd1 /org/stackd1 org.stackd1.Manager $deed as 0 >/dev/null 2>&1 &
        # Any moment: on this machine all is done after some 0.4 s.
        sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
        kill -KILL "$(main_pid stackd.service)"
        wait $! || :
        wait_for 20 'systemctl --quiet is-active stackd.service && stackctl status >/dev/null'
done
stackctl revert >/dev/null
assert_eq "$(state)" "$before"
stackctl apply >/dev/null || :
assert_eq "$(state)" "$after"

step "the policy is taken away"
rm /etc/stackd/policy/10-lower.policy
reload
[[ $(options $LOWER) == "${before%% *}" ]] || fail "$(options $LOWER)"
assert_eq "$(limits $LOWER)" "1000000 0"
assert_eq "$(cat "/sys/block/${loop##*/}/loop/dio")" 1

step "mount and device vanish"
umount $INNER
losetup --detach "$loop"
wait_for 20 '[[ $(grep -c . /run/stackd/ledger) == 1 ]]'
losetup "$loop" $LOWER/image
mount "$loop" $INNER
wait_for 20 '[[ $(cat "/sys/block/${loop##*/}/loop/dio") == 1 && ,$(super_options $INNER), == *,commit=60,* ]]'
umount $INNER
losetup --detach "$loop"
umount $BIND

step "no direct I/O on squashfs: refused once, and reported"
mkdir -p /run/image /mnt/squash
truncate --size=32M /run/image/image
mkfs.ext4 -qF /run/image/image
mksquashfs /run/image $LOWER/squash.img -quiet -no-progress
mount -o loop $LOWER/squash.img /mnt/squash
losetup --find --read-only /mnt/squash/image
loop=$(loop_of /mnt/squash/image)
mount -o ro,noload "$loop" $INNER
stackd_settled
assert_eq "$(cat "/sys/block/${loop##*/}/loop/dio")" 0
tries=$(journalctl --quiet _COMM=stackd --output=cat | grep -c '^Cannot set direct-io' || :)
assert_eq "$tries" 1 "tries"
stackctl --json=short status | jq -er '.actions[] | select(.kind == "direct-io" and .state == "failed") | .error'
for _ in 1 2 3; do
        stackd_settled
done
assert_eq "$(journalctl --quiet _COMM=stackd --output=cat | grep -c '^Cannot set direct-io' || :)" 1 "tries"
umount $INNER
losetup --detach "$loop"
umount /mnt/squash
umount $LOWER

step "a FUSE file system, whose limits are tight by themselves"
cat >/etc/stackd/policy/10-fuse.policy <<POLICY
[Match]
FilesystemType=fuse
[Writeback]
MaxRatio=50
StrictLimit=no
POLICY
reload
fuse_lower_up
fuse_up single
wait_for 20 '[[ $(limits "$(fuse_mount single)") == "500000 0" ]]'
stackd_settled
is_marked "$(main_pid "$(fuse_unit single)")" || fail "a policy for the layer took the process's away"
stackctl revert >/dev/null
assert_eq "$(limits "$(fuse_mount single)")" "10000 1"
stackctl apply >/dev/null
assert_eq "$(limits "$(fuse_mount single)")" "500000 0"
fuse_down single
fuse_lower_down
assert_no_stack
stackd_settled
assert_eq "$(grep -c . /run/stackd/ledger)" 1 "lines of the ledger"
assert_eq "$(journalctl --quiet _COMM=stackd --priority=warning --output=cat | grep -vc '^Cannot set direct-io')" 0 "complaints"
