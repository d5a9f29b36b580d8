# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Each hazard of memory, of ordering, and of what a server runs from: made by a real instance, found with the right
# layer, process and path, and nothing else found; cured as its text says, and gone. Before and after, and where stackd
# protects everything, there is none; nor with images as snaps have them.
#
# timeout: 500
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs mksquashfs strace

# hazards: a line "ID SEVERITY COMM LAYER" each, by names; "-" for none.
hazards() {
        stackctl --json=short status | jq -r '
                . as $all
                | def layer($id): [$all.layers[] | select(.id == $id) | .mounts[0] // .path // .name][0] // "-";
                  def process($pid): [$all.processes[] | select(.pid == $pid) | .comm][0] // "-";
                  .hazards[] | "\(.id) \(.severity) \(process(.pid)) \(layer(.layer))"' | sort
}

# path_of ID: of the one hazard of that kind, by names.
path_of() {
        stackctl --json=short status | jq -er --arg id "$1" '
                . as $all
                | def name($id): [(($all.layers[] | select(.id == $id) | .mounts[0] // .path // .name),
                                   ($all.processes[] | select(.id == $id) | .comm))][0];
                  [.hazards[] | select(.id == $id)] | if length == 1 then .[0] else error("\(length) of them") end
                | .path | map(name(.)) | join(" > ")'
}

# hazards_are STATUS LINE...: exactly these, and the exit status of check.
hazards_are() {
        local status=0 wanted=$1
        shift
        stackd_settled
        stackctl --no-pager check >/run/check || status=$?
        assert_eq "$(hazards)" "$(printf '%s\n' "$@" | sort)" "hazards"
        assert_eq "$status" "$wanted" "exit status of check"
        step "  $(tail -n 1 /run/check)"
}

none() {
        hazards_are 0
        assert_eq "$(cat /run/check)" "No hazards."
}

# cure_says ID TEXT
cure_says() {
        stackctl --json=short status | jq -er --arg id "$1" '.hazards[] | select(.id == $id) | .cure' | grep -F -- "$2" >/dev/null ||
                fail "the cure of $1 does not say: $2"
}

systemctl start stackd.service
step "nothing stacked"
none

step "images as snaps have them"
fuse_lower_up
mkdir -p /srv/fuse-lower/snaps /run/tree
head -c 3M /dev/urandom >/run/tree/file
mksquashfs /run/tree /run/tree.snap -quiet -no-progress >/dev/null
for i in {1..20}; do
        cp /run/tree.snap "/srv/fuse-lower/snaps/$i.snap"
        mkdir -p "/mnt/snap-$i"
        mount -o loop,ro "/srv/fuse-lower/snaps/$i.snap" "/mnt/snap-$i"
done
none
for i in {1..20}; do
        umount "/mnt/snap-$i"
        rmdir "/mnt/snap-$i"
done

step "a server that stackd protects"
server_unit() {
        printf '[Service]\nExecStart=bindfs -f %s/single %s\n' "$FUSE_LOWER" "$(fuse_mount single)"
        printf '%s\n' "$@"
}
server_up() {
        mkdir -p "$FUSE_LOWER/single" "$(fuse_mount single)"
        server_unit "$@" >/etc/systemd/system/server.service
        systemctl daemon-reload
        systemctl start server.service
        wait_for 30 "mountpoint --quiet $(fuse_mount single)"
        server=$(main_pid server.service)
}
server_down() {
        umount "$(fuse_mount single)"
        wait_for 30 '! systemctl --quiet is-active server.service'
}
server_up
none
stackctl --no-pager check

step "stop-order: a file system on it, which nothing orders"
inner=$(fuse_inner single)
fuse_inner_up single
hazards_are 1 "stop-order warning bindfs $inner"
cat /run/check
assert_eq "$(path_of stop-order)" "$inner > $(basename "$(loop_of "$(fuse_mount single)/inner.img")") > $(fuse_mount single)/inner.img > $(fuse_mount single) > bindfs"
cure_says stop-order "stackctl adopt server.service"
stackctl adopt server.service >/dev/null
none
stackctl release server.service >/dev/null
hazards_are 1 "stop-order warning bindfs $inner"
stackctl adopt server.service >/dev/null

step "what stackd does, undone"
stackctl revert "$server" >/dev/null
hazards_are 1 "nofs-missing error bindfs $inner" "reservation-missing notice bindfs $inner" "oom-killable notice bindfs $inner"
cat /run/check
for hazard in nofs-missing reservation-missing oom-killable; do
        assert_eq "$(path_of "$hazard")" "$inner > $(basename "$(loop_of "$(fuse_mount single)/inner.img")") > $(fuse_mount single)/inner.img > $(fuse_mount single) > bindfs"
        cure_says "$hazard" "stackctl apply process:$server:"
done
stackctl --no-pager explain server.service | tee /run/explained
tr -s ' \n' ' ' </run/explained | grep -F "left alone, since an administrator reverted it; 'stackctl apply process:$server:" >/dev/null

step "reservation-ineffective: one that the slice does not carry"
systemctl set-property --runtime server.service MemoryMin=64M
hazards_are 1 "nofs-missing error bindfs $inner" "reservation-ineffective warning bindfs $inner" "oom-killable notice bindfs $inner"
grep -A3 reservation-ineffective /run/check | tr -s ' \n' ' ' | grep 'give /system.slice a MemoryMin=\|/system.slice above it does not carry more' >/dev/null
systemctl set-property --runtime system.slice MemoryMin=64M
hazards_are 1 "nofs-missing error bindfs $inner" "oom-killable notice bindfs $inner"
systemctl set-property --runtime system.slice MemoryMin=0
systemctl set-property --runtime server.service MemoryMin=0

step "swap-on-self"
truncate --size=64M "$(fuse_mount single)/swap.img"
losetup --find "$(fuse_mount single)/swap.img"
device=$(loop_of "$(fuse_mount single)/swap.img")
mkswap --quiet "$device"
swapon "$device"
hazards_are 1 "nofs-missing error bindfs $inner" "reservation-missing notice bindfs $inner" "oom-killable notice bindfs $inner" \
        "swap-on-self error bindfs $device" "swap-priority error bindfs $device" "stop-order warning bindfs $device"
assert_eq "$(path_of swap-on-self)" "$device > ${device#/dev/} > $(fuse_mount single)/swap.img > $(fuse_mount single) > bindfs"
cat /run/check
step "applied: what stackd does is done"
stackctl apply "$server" >/dev/null
hazards_are 1 "swap-priority error bindfs $device" "stop-order warning bindfs $device"
assert_eq "$(path_of swap-priority)" "$device > ${device#/dev/} > $(fuse_mount single)/swap.img > $(fuse_mount single) > bindfs"
cure_says swap-priority "chrt --fifo --all-tasks --pid 5 $server"
chrt --fifo --all-tasks --pid 5 "$server"
hazards_are 1 "stop-order warning bindfs $device"
cure_says stop-order "stackctl adopt server.service"
stackctl adopt server.service >/dev/null
none
chrt --other --all-tasks --pid 0 "$server"
swapoff "$device"
losetup --detach "$device"
rm "$(fuse_mount single)/swap.img"

step "freezable: the server is frozen, and stackd goes on"
systemctl freeze server.service
hazards_are 1 "freezable warning bindfs $inner"
cure_says freezable "systemctl thaw"
systemctl thaw server.service
none
stackctl release server.service >/dev/null
fuse_inner_down single
server_down
none

step "limit-in-path: a writer in the same limited slice"
printf '[Slice]\nMemoryMax=150M\n' >/etc/systemd/system/pod.slice
server_up Slice=pod.slice
hazards_are 1 "oom-killable notice bindfs $(fuse_mount single)"
cure_says oom-killable "lift the limit of /pod.slice"
systemd-run --quiet --unit=writer --slice=pod.slice --collect sh -c "exec sleep infinity >>$(fuse_mount single)/log"
wait_for 10 "[[ -e $(fuse_mount single)/log ]]"
hazards_are 1 "limit-in-path warning bindfs $(fuse_mount single)" "oom-killable notice bindfs $(fuse_mount single)"
cat /run/check
assert_eq "$(path_of limit-in-path)" "$(fuse_mount single) > bindfs"
cure_says limit-in-path "lift the limit (memory.max)"
systemctl set-property --runtime pod.slice MemoryMax=infinity
none
systemctl stop writer.service
server_down
rm /etc/systemd/system/pod.slice
rm -rf /run/systemd/system.control

step "self-hosted: a library that is loaded from there, a working directory"
for ground in library .; do
        mkfifo /run/late
        server_up Environment="LD_PRELOAD=/usr/lib/stackd-vm/extra/late-ground.so LATE_GROUND=/run/late"
        cp /bin/true "$(fuse_mount single)/library"
        none
        echo "$(fuse_mount single)/$ground" >/run/late
        wait_for 10 "[[ \$(readlink /proc/$server/cwd) == $(fuse_mount single) ]] || grep -q '$(fuse_mount single)/library' /proc/$server/maps"
        hazards_are 1 "self-hosted warning bindfs $(fuse_mount single)"
        assert_eq "$(path_of self-hosted)" "$(fuse_mount single) > bindfs"
        cat /run/check
        # Its own working directory keeps it from being unmounted.
        umount --lazy "$(fuse_mount single)"
        systemctl kill --signal=KILL server.service
        wait_for 30 '! systemctl --quiet is-active server.service'
        systemctl reset-failed server.service
        rm /run/late
done
step "started without it"
server_up
none

step "unbounded-writeback: a server that cannot be marked, and no limit above it"
server_down
server_up "CapabilityBoundingSet=~CAP_SYS_RESOURCE"
fuse_inner_up single
hazards_are 1 "nofs-denied error bindfs $inner" "stop-order warning bindfs $inner"
cure_says nofs-denied "stackctl adopt server.service"
stackctl revert "$inner" >/dev/null
device=$(basename "$(loop_of "$(fuse_mount single)/inner.img")")
if [[ -e /sys/block/$device/bdi/strict_limit ]]; then
        hazards_are 1 "nofs-denied error bindfs $inner" "stop-order warning bindfs $inner" "unbounded-writeback warning bindfs $inner"
        assert_eq "$(path_of unbounded-writeback)" "$inner > $device > $(fuse_mount single)/inner.img > $(fuse_mount single) > bindfs"
        cure_says unbounded-writeback "stackctl apply"
else
        # Linux before 6.2: there is nothing to cure it with.
        hazards_are 1 "nofs-denied error bindfs $inner" "stop-order warning bindfs $inner"
fi
stackctl apply "$inner" >/dev/null
hazards_are 1 "nofs-denied error bindfs $inner" "stop-order warning bindfs $inner"
fuse_inner_down single
server_down

step "double-cache: a large image that could do direct I/O"
truncate --size=1G "$FUSE_LOWER/large.img"
losetup --find "$FUSE_LOWER/large.img"
device=$(loop_of "$FUSE_LOWER/large.img")
none
format_and_mount "$device" /mnt/large
hazards_are 1 "double-cache notice - ${device#/dev/}"
cat /run/check
cure_says double-cache "losetup --direct-io=on $device"
losetup --direct-io=on "$device"
none
umount /mnt/large
losetup --detach "$device"
rm "$FUSE_LOWER/large.img"

step "nofs-partial: one of its threads is being debugged"
fuse_up pool
fuse_inner_up pool
inner=$(fuse_inner pool)
server=$(main_pid "$(fuse_unit pool)")
device=$(basename "$(loop_of "$(fuse_mount pool)/inner.img")")
on_it="$device > $(fuse_mount pool)/inner.img > $(fuse_mount pool) > bindfs"
hazards_are 1 "stop-order warning bindfs $inner"
stackctl revert "$server" >/dev/null
for _ in {1..4}; do
        cat "$(fuse_mount pool)/inner.img" >/dev/null &
done
wait
thread=$(find "/proc/$server/task" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -n 1)
strace -o /dev/null -p "$thread" &
debugger=$!
wait_for 10 "grep -q '^TracerPid:.*[1-9]' /proc/$server/task/$thread/status"
refute stackctl apply "$server" 2>/run/stderr
grep -F "thread $thread: a debugger traces it" /run/stderr
hazards_are 1 "nofs-partial error bindfs $inner" "stop-order warning bindfs $inner"
cat /run/check
assert_eq "$(path_of nofs-partial)" "$inner > $on_it"
cure_says nofs-partial "stackctl apply process:$server:"
kill "$debugger"
wait "$debugger" || :
stackctl apply "$server" >/dev/null
hazards_are 1 "stop-order warning bindfs $inner"

step "cycle: a server keeps a file on what stands on it"
mkdir -p "$FUSE_LOWER/pool/sub"
mount --bind "$inner" "$FUSE_LOWER/pool/sub"
systemd-run --quiet --unit=holder --collect sh -c "exec sleep infinity >>$(fuse_mount pool)/sub/log"
wait_for 10 "[[ -e $inner/log ]]"
hazards_are 1 "cycle warning - $device" "stop-order warning bindfs $inner"
cat /run/check
assert_eq "$(path_of cycle)" "$on_it > $FUSE_LOWER/pool/sub/log > $inner > $device"
cure_says cycle "move what the process keeps there"
systemctl stop holder.service
hazards_are 1 "stop-order warning bindfs $inner"
umount "$FUSE_LOWER/pool/sub"
fuse_inner_down pool
fuse_down pool

step "all down: none again"
rm -f /etc/systemd/system/server.service
systemctl daemon-reload
fuse_lower_down
none
assert_no_stack
