# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Servers as Debian starts them, and as people harden them, adopted and released. Each starts, serves and is marked, and
# has otherwise exactly what it had before.
#
# by hand: thirteen servers, each through its whole life: ten minutes and more in an emulator
# timeout: 1800
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/stackd.sh
. /usr/lib/stackd-vm/lib/tcmu.sh
require jq nbd-client nbd-server nbdkit qemu-nbd tgtadm iscsiadm bindfs

RUN=/usr/libexec/stackd/stackd-run
ZOO=/srv/zoo
format_and_mount /dev/disk/by-id/virtio-data2 "$ZOO"
chmod 755 "$ZOO"
ip link set lo up
modprobe --all nbd fuse
mkdir -p /mnt/zoo /etc/stackd/stackd.conf.d
# Whatever is marked here is so from its start.
printf '[Stackd]\nApply=no\n' >/etc/stackd/stackd.conf.d/zoo.conf

# unit NAME LINES...: a service with these lines.
unit() {
        local name=$1
        shift
        printf '[Service]\n' >"/etc/systemd/system/$name.service"
        printf '%s\n' "$@" >>"/etc/systemd/system/$name.service"
}

# image NAME [OWNER]
image() {
        truncate --size=64M "$ZOO/$1.img"
        chown "${2:-root}:" "$ZOO/$1.img"
}

# traits UNIT: what its main process has, but for the mark.
traits() {
        local pid namespace
        pid=$(main_pid "$1")
        # Not CapInh: some versions of systemd leave there what DynamicUser= took, and an adopted service has nothing in it.
        grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|Cap(Prm|Eff|Bnd|Amb)):' "/proc/$pid/status"
        tr '\0' '\n' <"/proc/$pid/cmdline"
        tr '\0' '\n' <"/proc/$pid/environ" | grep -vE '^(INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|MAINPID|MEMORY_PRESSURE_[A-Z]+)=' | sort
        readlink "/proc/$pid/exe" "/proc/$pid/cwd"
        awk '{ NF = 4; print }' "/proc/$pid/limits"
        cat "/proc/$pid/attr/current" 2>/dev/null || :
        for namespace in mnt net ipc uts pid user cgroup; do
                [[ $(readlink "/proc/$pid/ns/$namespace") == "$(readlink "/proc/1/ns/$namespace")" ]] || echo "a $namespace namespace of its own"
        done
}

# exposure UNIT: the name and the weight of everything that systemd-analyze has to say of its sandbox.
exposure() {
        systemd-analyze security --json=short "$1" | jq -r '.[] | "\(.json_field // .name) \(.exposure)"' | sort
}

# all_marked UNIT: every thread of every process of it.
all_marked() {
        local pid pids
        pids=$(cat "/sys/fs/cgroup/$(systemctl show --property=ControlGroup --value "$1")/cgroup.procs")
        [[ -n $pids ]] || fail "$1 has no process"
        for pid in $pids; do
                [[ ! -e /proc/$pid ]] || assert_marked "$pid"
        done
}

# begin HOW NAME: until it serves.
begin() {
        systemctl "$1" "${unit_of[$2]}" || { journalctl --no-pager --lines=20 --unit="${unit_of[$2]}"; fail "$2 did not start"; }
        wait_for 90 "${ready_of[$2]}"
}

names=()
declare -A unit_of=() ready_of=() called=()

# zoo NAME UNIT READY [WHAT]: one to be looked at; load_NAME reads and writes. WHAT is how it is called, if not UNIT.
zoo() {
        names+=("$1")
        unit_of[$1]=$2
        ready_of[$1]=$3
        called[$1]=${4:-$2}
}

# same UNIT TRAITS: it has what it had at first.
same() {
        diff <(echo "$2") <(traits "$1") || fail "$1 has something else than before"
}

# refused UNIT WORDS: it cannot be adopted, for that reason, and is left alone.
refused() {
        local status=0
        stackctl adopt "$1" 2>/run/stderr || status=$?
        cat /run/stderr
        assert_eq "$status" 2 "status of adopting $1"
        grep -qF -- "$2" /run/stderr || fail "not said: $2"
        [[ ! -e /etc/systemd/system/$1.service.d/zz-stackd.conf ]] || fail "something was written for $1"
        [[ -z $(systemctl list-units --all --plain --no-legend 'stackctl-adopt-*') ]] || fail "a unit of the trial is left"
}

# through_nbd NBD-CLIENT-ARGUMENTS...: a file system through that server.
through_nbd() {
        nbd-client "$@" /dev/nbd0 >/dev/null
        wait_for 60 '[[ $(cat /sys/block/nbd0/size) != 0 ]]'
        format_and_mount /dev/nbd0 /mnt/zoo
        verify_io /mnt/zoo 4
        umount /mnt/zoo
        nbd-client -d /dev/nbd0 >/dev/null
        wait_for 60 '[[ $(cat /sys/block/nbd0/size) == 0 || ! -e /sys/block/nbd0/pid ]]'
}

HARDENED=(NoNewPrivileges=yes ProtectSystem=strict "ReadWritePaths=$ZOO" ProtectHome=yes PrivateTmp=yes PrivateDevices=yes
        MemoryDenyWriteExecute=yes RestrictNamespaces=yes RestrictRealtime=yes RestrictSUIDSGID=yes LockPersonality=yes ProtectKernelTunables=yes
        ProtectKernelModules=yes ProtectControlGroups=yes ProtectProc=invisible SystemCallArchitectures=native)

step "beside an override.conf, which replaces the command or adds one"
unit edited Type=oneshot RemainAfterExit=yes User=user "ExecStart=/bin/sh -c 'echo a >>/run/zoo-edited/out'" RuntimeDirectory=zoo-edited
mkdir -p /etc/systemd/system/edited.service.d
for line in 'ExecStart=' ''; do
        printf '[Service]\n%s\nExecStart=/bin/sh -c '\''echo b >>/run/zoo-edited/out; grep -E "^(Cap|NoNew|Seccomp)" /proc/self/status >>/run/zoo-edited/out'\''\n' "$line" \
                >/etc/systemd/system/edited.service.d/override.conf
        systemctl daemon-reload
        systemctl restart edited.service
        before=$(cat /run/zoo-edited/out)
        stackctl adopt edited
        for value in $(systemctl show --property=ExecStart edited.service | grep -o 'path=[^ ]*'); do
                assert_eq "$value" "path=$RUN" "a command of edited.service"
        done
        systemctl restart edited.service
        assert_eq "$(cat /run/zoo-edited/out)" "$before" "what edited.service did"
        stackctl release edited
done
systemctl stop edited.service

step "a drop-in that is read later still: all is taken back"
printf '[Service]\nExecStart=\nExecStart=/bin/true\n' >/etc/systemd/system/edited.service.d/zzz.conf
systemctl daemon-reload
refused edited 'zzz.conf is read after'
assert_eq "$(systemctl show --property=AmbientCapabilities --value edited.service)" ""
rm -r /etc/systemd/system/edited.service.d

step "what would not start is refused, before anything is written"
unit foreign PrivateUsers=yes "ExecStart=/bin/sleep 1000"
unit armored AppArmorProfile=zoo "ExecStart=/bin/sleep 1000"
mkdir -p "$ZOO/bare"/{bin,proc,sys,dev,run,tmp}
unit bare "RootDirectory=$ZOO/bare" "ExecStart=/bin/sleep 1000"
unit hidden "InaccessiblePaths=/usr/libexec" "ExecStart=/bin/sleep 1000"
# An empty BindReadOnlyPaths= in the trial would hide this.
unit missing "BindPaths=/does/not/exist:/mnt" "ExecStart=/bin/sleep 1000"
unit silent User=user "SystemCallFilter=~prctl" "SystemCallFilter=~getuid geteuid getgid getegid mmap" "ExecStart=/bin/sleep 1000"
systemctl daemon-reload
refused foreign PrivateUsers=
refused armored AppArmorProfile=zoo
refused bare "within RootDirectory=$ZOO/bare"
refused hidden InaccessiblePaths=
refused missing 226/NAMESPACE
refused silent SystemCallFilter=

step "a power cut right after adopt"
unit cut "ExecStart=/bin/sleep 1000"
mkdir -p /etc/systemd/system/cut.service.d
truncate --size=512M "$ZOO/cut.img"
mkfs.xfs -q "$ZOO/cut.img"
device=$(losetup --show --find "$ZOO/cut.img")
mount "$device" /etc/systemd/system/cut.service.d
systemctl daemon-reload
stackctl adopt cut
sum=$(cat /etc/systemd/system/cut.service.d/zz-stackd.conf)
echo lost >/etc/systemd/system/cut.service.d/other
xfs_io -x -c shutdown /etc/systemd/system/cut.service.d
umount /etc/systemd/system/cut.service.d
mount "$device" /etc/systemd/system/cut.service.d
[[ ! -s /etc/systemd/system/cut.service.d/other ]] || fail "that was no power cut"
assert_eq "$(cat /etc/systemd/system/cut.service.d/zz-stackd.conf)" "$sum" "the drop-in after a power cut"
: >/etc/systemd/system/cut.service.d/zz-stackd.conf
stackctl release cut
umount /etc/systemd/system/cut.service.d
losetup --detach "$device"

step "released without a bus, and all at once"
for name in silent hidden cut edited; do
        rm -rf "/etc/systemd/system/$name.service.d"
        unit "$name" "ExecStart=/bin/sleep 1000"
done
systemctl daemon-reload
stackctl adopt cut
stackctl adopt edited
mkdir -p /etc/systemd/system/foreign.service.d
echo '# mine' >/etc/systemd/system/foreign.service.d/zz-stackd.conf
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/none stackctl release --all
refute grep -rq "stackctl adopt" /etc/systemd/system
[[ -e /etc/systemd/system/foreign.service.d/zz-stackd.conf ]]
refute stackctl release foreign

image nbdkit user
unit hardened User=user 'SystemCallFilter=@system-service' 'SystemCallFilter=~@privileged @resources' RuntimeDirectory=zoo "${HARDENED[@]}" \
        "ExecStartPre=/bin/sh -c 'grep ^Cap /proc/self/status >/run/zoo/pre'" "ExecStartPost=/bin/sh -c 'grep ^Cap /proc/self/status >/run/zoo/post'" \
        "ExecStart=/usr/bin/nbdkit --foreground --unix /run/zoo/sock file $ZOO/nbdkit.img"
load_nbdkit() {
        local name
        for name in pre post; do
                assert_eq "$(cat "/run/zoo/$name")" "$(grep ^Cap "/proc/$(main_pid hardened.service)/status")" "capabilities of the helper $name"
        done
        through_nbd -N any -unix /run/zoo/sock
}
zoo nbdkit hardened.service '[[ -S /run/zoo/sock && -s /run/zoo/post ]]'

image root
mkdir -p "$ZOO/root"/{usr,lib,lib64,etc,run,proc,sys,dev,tmp,srv}
for name in bin lib lib64 sbin; do
        [[ ! -L /$name ]] || { rmdir "$ZOO/root/$name" 2>/dev/null || :; cp -a "/$name" "$ZOO/root/$name"; }
done
unit rooted "RootDirectory=$ZOO/root" "BindReadOnlyPaths=/usr /etc" "BindPaths=/run $ZOO:/srv" MountAPIVFS=yes CapabilityBoundingSet=CAP_KILL \
        "ExecStart=/usr/bin/nbdkit --foreground --unix /run/zoo-rooted file /srv/root.img" "ExecStopPost=/bin/rm -f /run/zoo-rooted"
load_rooted() { through_nbd -N any -unix /run/zoo-rooted; }
zoo rooted rooted.service '[[ -S /run/zoo-rooted ]]'

image qemu user
unit errno User=user CapabilityBoundingSet= 'SystemCallFilter=@system-service' 'SystemCallFilter=~@privileged' SystemCallErrorNumber=EPERM \
        RuntimeDirectory=zoo-qemu "${HARDENED[@]}" "ExecStart=/usr/bin/qemu-nbd --persistent --format=raw --export-name=zoo --socket=/run/zoo-qemu/sock $ZOO/qemu.img"
load_qemu() { through_nbd -N zoo -unix /run/zoo-qemu/sock; }
zoo qemu errno.service '[[ -S /run/zoo-qemu/sock ]]'

unit dynamic DynamicUser=yes StateDirectory=zoo-qsd RuntimeDirectory=zoo-qsd "ExecStartPre=/usr/bin/truncate --size=64M %S/zoo-qsd/disk.img" \
        "ExecStart=/usr/bin/qemu-storage-daemon --blockdev driver=file,node-name=disk,filename=%S/zoo-qsd/disk.img --nbd-server addr.type=unix,addr.path=%t/zoo-qsd/sock --export type=nbd,id=zoo,node-name=disk,name=zoo,writable=on"
load_qsd() { through_nbd -N zoo -unix /run/zoo-qsd/sock; }
zoo qsd dynamic.service '[[ -S /run/zoo-qsd/sock ]]'

mkdir -p "$ZOO/diod"
unit listed NoExecPaths=/ "ExecPaths=/usr/sbin/diod /usr/lib -/usr/lib64" "${HARDENED[@]}" "ExecStart=/usr/sbin/diod --foreground --no-auth --listen=127.0.0.1:5640 --export=$ZOO/diod"
load_diod() {
        mount -t 9p -o trans=tcp,port=5640,version=9p2000.L,aname="$ZOO/diod",uname=root,access=any 127.0.0.1 /mnt/zoo
        verify_io /mnt/zoo 2
        umount /mnt/zoo
}
zoo diod listed.service 'ss -Hltn sport = :5640 | grep -q .'

# Templates: each instance by itself.
printf '%s\n' '[Service]' "ExecStart=/usr/bin/bindfs -f $ZOO/%I /mnt/%I" "ExecStop=-/usr/bin/umount /mnt/%I" >/etc/systemd/system/bind@.service
mkdir -p "$ZOO/zoo-a" /mnt/zoo-a "$ZOO/zoo-b" /mnt/zoo-b
load_bindfs() { verify_io /mnt/zoo-a 2; }
zoo bindfs 'bind@zoo\x2da.service' 'mountpoint --quiet /mnt/zoo-a'

mkdir -p "$ZOO/branch" /mnt/zoo-merged
unit merged "ExecStart=/usr/bin/mergerfs -f -o minfreespace=1M $ZOO/branch /mnt/zoo-merged" "ExecStop=/usr/bin/umount /mnt/zoo-merged"
load_mergerfs() { verify_io /mnt/zoo-merged 2; }
zoo mergerfs merged.service 'mountpoint --quiet /mnt/zoo-merged'

grep -qx user_allow_other /etc/fuse.conf || echo user_allow_other >>/etc/fuse.conf
image fuse2fs user
mkfs.ext4 -qF -E nodiscard "$ZOO/fuse2fs.img"
install -d -o user /mnt/zoo-user
# It mounts by a program that is set-user-ID root, whose bounding set must be what it was.
unit users User=user "ExecStart=/usr/bin/fuse2fs -f -o allow_other,fakeroot $ZOO/fuse2fs.img /mnt/zoo-user" "ExecStop=/usr/bin/fusermount3 -u /mnt/zoo-user"
load_fuse2fs() { verify_io /mnt/zoo-user 2; }
zoo fuse2fs users.service 'mountpoint --quiet /mnt/zoo-user'

printf '[zoo]\nexportname=%s/nbd.img\n' "$ZOO" >/etc/nbd-server/conf.d/zoo.conf
image nbd nbd
load_nbd() { through_nbd -N zoo 127.0.0.1; }
zoo nbd nbd-server.service 'ss -Hltn sport = :10809 | grep -q .'

image tgt
mkdir -p /etc/tgt/conf.d
printf '<target iqn.2026-01.test:zoo>\n  backing-store %s/tgt.img\n</target>\n' "$ZOO" >/etc/tgt/conf.d/zoo.conf
iscsi_disk() {
        local found=(/sys/class/iscsi_session/session*/device/target*/*/block/*)
        ((${#found[@]} == 1)) && echo "/dev/${found[0]##*/}"
}
load_tgt() {
        iscsiadm -m discoverydb -t sendtargets -p 127.0.0.1:3260 --discover >/dev/null
        iscsiadm -m node -T iqn.2026-01.test:zoo --login >/dev/null
        wait_for 30 '[[ -b $(iscsi_disk) ]]'
        format_and_mount "$(iscsi_disk)" /mnt/zoo
        verify_io /mnt/zoo 4
        umount /mnt/zoo
        iscsiadm -m node -T iqn.2026-01.test:zoo --logout >/dev/null
        iscsiadm -m node -T iqn.2026-01.test:zoo -o delete
}
zoo tgt tgt.service 'tgtadm --op show --mode target | grep -q zoo'

tcmu_lower_up
load_tcmu() {
        local disk
        tcmu_backstore_up
        tcmu_disk_up
        disk=$(tcmu_disk)
        head -c 4M /dev/urandom >/run/verify
        dd if=/run/verify of="$disk" bs=1M oflag=direct status=none
        dd if="$disk" bs=1M count=4 iflag=direct status=none | cmp - /run/verify
        tcmu_disk_down
        tcmu_backstore_remove
}
zoo tcmu tcmu-runner.service 'busctl status org.kernel.TCMUService1 >/dev/null 2>&1'

# An alias, by which people know it.
mkdir -p "$ZOO/smb"
printf '[global]\nmap to guest = bad user\nserver min protocol = SMB3\nload printers = no\n[zoo]\npath = %s/smb\nguest ok = yes\nread only = no\nforce user = root\n' "$ZOO" >/etc/samba/smb.conf
systemctl enable --quiet smbd.service
load_smbd() {
        mount -t cifs -o guest,vers=3.1.1,sec=none //127.0.0.1/zoo /mnt/zoo
        verify_io /mnt/zoo 2
        umount /mnt/zoo
}
zoo smbd smbd.service 'ss -Hltn sport = :445 | grep -q .' smb

mkdir -p "$ZOO/nfs"
cat >/etc/ganesha/ganesha.conf <<CONF
NFS_Core_Param { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; Minor_Versions = 1, 2; }
EXPORT { Export_Id = 7; Path = $ZOO/nfs; Pseudo = /zoo; Access_Type = RW; Squash = No_Root_Squash; Protocols = 4; Transports = TCP; SecType = sys; FSAL { Name = VFS; } }
CONF
load_ganesha() {
        wait_for 60 'timeout 20 mount -t nfs4 -o vers=4.1 127.0.0.1:/zoo /mnt/zoo'
        verify_io /mnt/zoo 2
        umount /mnt/zoo
}
zoo ganesha nfs-ganesha.service 'ss -Hltn sport = :2049 | grep -q .'

systemctl daemon-reload
systemctl start iscsid.service
for name in "${names[@]}"; do
        unit=${unit_of[$name]}
        file=/etc/systemd/system/$unit.d/zz-stackd.conf
        step "$name"
        begin restart "$name"
        said=$(traits "$unit")
        exposed=$(exposure "$unit")
        assert_unmarked "$(main_pid "$unit")"
        stackctl --no-pager adopt "${called[$name]}"
        sed 's/^/    /' "$file"
        diff <(echo "$exposed") <(exposure "$unit") | sed -n 's/^[<>]/    exposure &/p' || :
        begin restart "$name"
        all_marked "$unit"
        same "$unit" "$said"
        "load_$name"
        all_marked "$unit"
        systemctl stop "$unit"
        begin start "$name"
        all_marked "$unit"
        stackctl release "${called[$name]}"
        [[ ! -e $file ]] || fail "$file is still there"
        begin restart "$name"
        assert_unmarked "$(main_pid "$unit")"
        same "$unit" "$said"
done

step "systemd-analyze verify has nothing more to say"
some=(hardened.service rooted.service listed.service tgt.service smbd.service)
verified=$(systemd-analyze verify "${some[@]}" 2>&1 || :)
for unit in "${some[@]}"; do
        stackctl adopt "$unit" >/dev/null
done
assert_eq "$(systemd-analyze verify "${some[@]}" 2>&1 || :)" "$verified" "what systemd-analyze verify says"
stackctl release --all

refused 'bind@' 'bind@zoo\x'
systemctl stop iscsid.service "${unit_of[@]}"
systemctl disable --quiet smbd.service
tcmu_lower_down

rm -r /etc/systemd/system/*.service.d /etc/systemd/system/{hardened,errno,dynamic,rooted,listed,bind@,merged,users,edited,foreign,armored,bare,hidden,missing,silent,cut}.service
rm /etc/stackd/stackd.conf.d/zoo.conf
systemctl daemon-reload
umount "$ZOO"
assert_no_stack
