# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Commands and services that are IO_FLUSHERs from their first instruction on, without a stackd that marks them, with no
# more capabilities than they had; and what is mounted on a service goes before it does.
#
# timeout: 600
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs runuser

server=/usr/local/bin/adopt-server
cat >"$server" <<'END'
#!/bin/sh
# Tells how it was called, and is ready.
printf '%s|' "$0" "$@" >"$STATE_FILE.$$"
mv "$STATE_FILE.$$" "$STATE_FILE"
[ -z "$NOTIFY_SOCKET" ] || systemd-notify --ready --pid=$$
exec sleep infinity
END
chmod +x "$server"

# unit NAME LINES...: a service with these lines.
unit() {
        local name=$1
        shift
        printf '[Service]\nEnvironment=STATE_FILE=/run/adopt/%s FOO=a\\x20b BAR=c\n' "$name" >"/etc/systemd/system/$name.service"
        printf '%s\n' "$@" >>"/etc/systemd/system/$name.service"
}

install -d -m 1777 /run/adopt

step "run: marked, and without the capability"
stackctl run -- sleep 1000 &
pid=$!
defer "kill $pid"
wait_for 10 "grep -qx sleep /proc/$pid/comm"
assert_marked "$pid"
for set in Eff Prm Inh Amb Bnd; do
        ! has_sys_resource "$pid" "$set" || fail "CAP_SYS_RESOURCE is still in Cap$set"
done
! stackctl run -- python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).prctl(57, 0, 0, 0, 0) != 0)' ||
        fail "it could take its mark off"
stackctl run --keep-capability -- sh -c 'read -r _ </proc/self/stat; grep CapEff /proc/self/status' | tee /run/caps
! runuser -u user -- stackctl run -- true || fail "an ordinary user became an IO_FLUSHER"

step "services, before and after"
unit simple "ExecStart=-$server one 'two  three' \"\$FOO\" \$FOO \${BAR} %%n %n \\;"
unit argv0 "ExecStart=@$server zero $server x"
unit notify "Type=notify" "NotifyAccess=all" "ExecStart=$server ready"
unit many "Type=oneshot" "RemainAfterExit=yes" "ExecStart=/bin/sh -c 'echo a >>/run/adopt/many.out' ; /bin/sh -c 'echo b >>/run/adopt/many.out'" \
        "ExecStart=-/bin/false" "ExecStart=/bin/sh -c \"grep -o 'CapEff.*' /proc/self/status >>/run/adopt/many.out\""
unit user "User=user" "NoNewPrivileges=yes" "ExecStart=$server user"
unit bounded "User=user" "CapabilityBoundingSet=CAP_KILL" "AmbientCapabilities=CAP_KILL" "ExecStart=$server bounded"
unit rootless "CapabilityBoundingSet=CAP_KILL CAP_SETPCAP" "ExecStart=$server rootless"
unit stuck "CapabilityBoundingSet=CAP_KILL" "ExecStart=$server stuck"
unit foreign "PrivateUsers=yes" "ExecStart=$server foreign"
unit dropped "ExecStart=/bin/false"
mkdir -p /etc/systemd/system/dropped.service.d
printf '[Service]\nExecStart=\nExecStart=%s drop-in %%p $BAR\n' "$server" >/etc/systemd/system/dropped.service.d/20-other.conf
names=(simple argv0 notify user bounded rootless stuck dropped)
systemctl daemon-reload
systemctl stop stackd.service
systemctl start "${names[@]/%/.service}" many.service
declare -A said effective bounding
for name in "${names[@]}"; do
        wait_for 10 "[[ -e /run/adopt/$name ]]"
        said[$name]=$(cat "/run/adopt/$name")
        pid=$(main_pid "$name.service")
        effective[$name]=$(capabilities_of "$pid" Eff)
        bounding[$name]=$(capabilities_of "$pid" Bnd)
        assert_unmarked "$pid"
done
cp /run/adopt/many.out /run/many.before
rm -r /run/adopt/*
for name in "${names[@]}" many; do
        stackctl --no-pager adopt "$name"
        cat "/etc/systemd/system/$name.service.d/zz-stackd.conf"
done
systemctl stop stackd.service
systemctl restart "${names[@]/%/.service}" many.service
for name in "${names[@]}"; do
        wait_for 10 "[[ -e /run/adopt/$name ]]"
        pid=$(main_pid "$name.service")
        assert_marked "$pid"
        assert_eq "$(cat "/run/adopt/$name")" "${said[$name]}" "arguments of $name"
        assert_eq "$(capabilities_of "$pid" Eff)" "${effective[$name]}" "CapEff of $name"
        assert_eq "$(capabilities_of "$pid" Bnd)" "${bounding[$name]}" "CapBnd of $name"
done
assert_eq "$(cat /run/adopt/many.out)" "$(cat /run/many.before)" "what several commands did"
systemctl is-active notify.service
assert_eq "$(systemctl show --property=OOMScoreAdjust --value simple.service)" -900 "OOM score"

step "adopted twice is adopted once"
for name in simple dropped many; do
        sum=$(cat "/etc/systemd/system/$name.service.d/zz-stackd.conf")
        stackctl adopt "$name.service" >/dev/null
        assert_eq "$(cat "/etc/systemd/system/$name.service.d/zz-stackd.conf")" "$sum" "the drop-in"
done

step "what cannot be adopted is refused, and left alone"
for name in foreign nosuch 'x@' '../x' ''; do
        status=0
        stackctl adopt "$name" 2>/run/stderr || status=$?
        cat /run/stderr
        assert_eq "$status" 2 "status of adopting '$name'"
        [[ ! -e /etc/systemd/system/$name.service.d ]] || fail "something was written for $name"
done
status=0
runuser -u user -- stackctl adopt simple || status=$?
assert_eq "$status" 2 "status for an ordinary user"
mkdir -p /etc/systemd/system/foreign.service.d
for file in zz-stackd.conf 50-stackd.conf; do
        echo '# mine' >"/etc/systemd/system/foreign.service.d/$file"
        status=0
        stackctl release foreign || status=$?
        assert_eq "$status" 1 "status of releasing what is somebody else's"
        grep -qx '# mine' "/etc/systemd/system/foreign.service.d/$file"
done
rm -r /etc/systemd/system/foreign.service.d

step "released: as it was"
for name in "${names[@]}" many; do
        stackctl release "$name"
        [[ ! -e /etc/systemd/system/$name.service.d/zz-stackd.conf ]] || fail "the drop-in of $name is still there"
done
[[ -e /etc/systemd/system/dropped.service.d/20-other.conf && ! -e /etc/systemd/system/user.service.d ]]
status=0
stackctl release simple || status=$?
assert_eq "$status" 1 "status of releasing what is not adopted"
rm -r /run/adopt/*
systemctl restart "${names[@]/%/.service}"
for name in "${names[@]}"; do
        wait_for 10 "[[ -e /run/adopt/$name ]]"
        assert_unmarked "$(main_pid "$name.service")"
        assert_eq "$(cat "/run/adopt/$name")" "${said[$name]}" "arguments of $name, released"
done
systemctl stop "${names[@]/%/.service}" many.service

step "what is mounted on it goes first"
fuse_lower_up
mkdir -p /srv/fuse-lower/single /mnt/fuse-single
unit tower "ExecStart=/usr/bin/bindfs -f /srv/fuse-lower/single /mnt/fuse-single"
systemctl daemon-reload
systemctl start tower.service stackd.service
wait_for 10 'mountpoint --quiet /mnt/fuse-single'
fuse_inner_up single
swap=$(fuse_inner single)/swap.img
dd if=/dev/zero of="$swap" bs=1M count=16 status=none
chmod 600 "$swap"
mkswap --quiet "$swap"
swapon "$swap"
wait_for 20 '(($(cat /sys/fs/cgroup/system.slice/tower.service/memory.min) > 0))'
stackd_settled
stackctl adopt tower
cat /etc/systemd/system/tower.service.d/zz-stackd.conf /etc/systemd/system/mnt-fuse*.{mount,swap}.d/50-stackd-tower.service.conf
reserved=$(systemctl show --property=MemoryMin --value tower.service)
assert_eq "$(sed -n 's/^MemoryMin=//p' /etc/systemd/system/tower.service.d/zz-stackd.conf)" "$((reserved >> 20))M" "its reservation"
inner=$(systemd-escape --path --suffix=mount "$(fuse_inner single)")
outer=$(systemd-escape --path --suffix=mount "$(fuse_mount single)")
swapping=$(systemd-escape --path --suffix=swap "$swap")
for upper in "$inner" "$outer" "$swapping"; do
        systemctl show --property=After --value "$upper" | tr ' ' '\n' | grep -qx tower.service || fail "$upper is not after tower.service"
        before=$(systemctl show --property=Before --value "$upper" | tr ' ' '\n')
        [[ $before != *local-fs.target* && $before != *swap.target* ]] || fail "$upper is before all services: a circle"
done
# systemctl quotes names that need it.
systemctl show --property=After --value tower.service | tr ' ' '\n' | grep -qxF "\"$(systemd-escape --path --suffix=mount /srv/fuse-lower | sed 's/\\/\\\\/g')\"" ||
        fail "not after its data: $(systemctl show --property=After --value tower.service)"
# All in one go, as at shutdown.
printf '[Unit]\nDefaultDependencies=no\nConflicts=tower.service %s\n' "$inner $outer $swapping" >/run/systemd/system/down.target
systemctl daemon-reload
served_by=$(main_pid tower.service)
systemctl start down.target
wait_for 60 '! systemctl --quiet is-active tower.service'
[[ ! -e /proc/$served_by ]]
wait_for 30 "[[ \$(systemctl show --property=InactiveEnterTimestampMonotonic --value tower.service) != 0 ]]"
stopped=$(systemctl show --property=InactiveEnterTimestampMonotonic --value tower.service)
for upper in "$inner" "$outer" "$swapping"; do
        gone=$(systemctl show --property=InactiveEnterTimestampMonotonic --value "$upper")
        echo "$upper gone at $gone, tower.service stopped at $stopped"
        ((gone > 0 && gone <= stopped)) || fail "$upper was not gone before its server stopped"
done
[[ ! -s /proc/swaps || $(wc -l </proc/swaps) == 1 ]]
refute journalctl --quiet --grep='ordering cycle' --lines=1

step "started anew: marked and reserved before anybody looks; released, it is as it was"
losetup --detach-all
# udev would start it.
systemctl mask --quiet --runtime --now stackd.service
systemctl start tower.service
wait_for 20 'mountpoint --quiet /mnt/fuse-single'
assert_marked "$(main_pid tower.service)"
(($(cat /sys/fs/cgroup/system.slice/tower.service/memory.min) >= reserved))
assert_eq "$(cat "/proc/$(main_pid tower.service)/oom_score_adj")" -900
stackctl release tower
[[ -z $(echo /etc/systemd/system/mnt-fuse*.d) ]] || fail "drop-ins of what is above are left"
systemctl stop tower.service
systemctl unmask --quiet --runtime stackd.service
stackd_settled
systemctl mask --quiet --runtime --now stackd.service
systemctl start tower.service
wait_for 20 'mountpoint --quiet /mnt/fuse-single'
assert_unmarked "$(main_pid tower.service)"
assert_eq "$(cat /sys/fs/cgroup/system.slice/tower.service/memory.min) $(cat "/proc/$(main_pid tower.service)/oom_score_adj")" "0 0"
systemctl stop tower.service
systemctl unmask --quiet --runtime stackd.service
rm -f /etc/systemd/system/{simple,argv0,notify,many,user,bounded,rootless,dropped,stuck,foreign,tower}.service /run/systemd/system/down.target
rm -r /etc/systemd/system/dropped.service.d
systemctl daemon-reload
fuse_lower_down
assert_no_stack
