#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs stackd-mark and its tests on an emulated aarch64 machine with a Debian
# kernel and C library; see README.md.
#
# usage: tests/vm/aarch64.sh BUILD [COMMAND...]
# BUILD was configured with --cross-file tests/mark/cross-aarch64.ini -Dmark-only=true.
# COMMAND is run by a shell in the guest, in a directory that holds the programs
# of BUILD/tests/mark, the scripts of tests/mark, and stackd-mark. Without one,
# the self-checking victims and the odd processes are marked.
set -Eeuo pipefail

source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?the build directory}" && pwd)
shift
command=${*:-'./test-mark.py --jobs 3 --brief 2000 ./stackd-mark-test ./mark-victim ./mark-deaths; a=$?
        ./test-mark-processes.py ./stackd-mark . --real && [ $a = 0 ]'}
suite=${AARCH64_SUITE:-trixie}
seconds=${AARCH64_SECONDS:-1500}
packages=python3,bash,coreutils,util-linux,mount,strace,linux-image-arm64
cache=${STACKD_VM_CACHE:-/var/cache/stackd-vm}/aarch64-$suite-$(sha256sum <<<"$packages" | head -c 8)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Nothing of the architecture is run to unpack it. Memory holds all of it, so no module is needed either.
if [[ ! -d $cache ]]; then
        echo "building $cache"
        unshare --mount --pid --fork --kill-child --mount-proc mmdebstrap --quiet --mode=root --variant=extract \
                --architectures=arm64 --include="$packages" --aptopt='APT::Install-Recommends false' \
                --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
                --dpkgopt='path-exclude=/usr/lib/modules/*' "$suite" "$work/root"
        mkdir -p "$work/cache"
        cp "$work"/root/boot/vmlinuz-* "$work/cache/vmlinuz"
        rm -rf "$work"/root/boot "$work"/root/usr/lib/modules "$work"/root/var/{cache,lib}/apt
        (cd "$work/root" && find . -xdev -print0 | cpio --quiet --null --create --format=newc) >"$work/cache/root.cpio"
        mkdir -p "$(dirname "$cache")"
        mv -T "$work/cache" "$cache"
        rm -rf "$work/root"
fi

payload=$work/payload
mkdir -p "$payload/tests"
find "$build/tests/mark" -maxdepth 1 -type f -executable -exec cp -t "$payload/tests" {} +
cp -t "$payload/tests" "$source"/tests/mark/*.py "$build/daemon/actuator/mark/stackd-mark"
printf '%s\n' "$command" >"$payload/tests/command"
cat >"$payload/init" <<'INIT'
#!/bin/bash
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root STACKD_TEST_QUICK=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
mkdir -p /var/tmp
chmod 1777 /var/tmp
# a session of its own, so that stopping works as anywhere
cd /tests && setsid bash ./command </dev/null >/dev/console 2>&1
echo "status $?" >/dev/console
echo o >/proc/sysrq-trigger
sleep 60
INIT
chmod +x "$payload/init" "$payload"/tests/*
(cd "$payload" && find . -print0 | cpio --quiet --null --create --format=newc) >"$work/payload.cpio"
cat "$cache/root.cpio" "$work/payload.cpio" >"$work/initrd"

timeout "$seconds" qemu-system-aarch64 -M virt -cpu max,pauth-impdef=on -smp 2 -m 2048 -accel tcg,thread=multi \
        -kernel "$cache/vmlinuz" -initrd "$work/initrd" -append 'console=ttyAMA0 quiet panic=-1' \
        -display none -monitor none -serial stdio -nic none -no-reboot </dev/null | tee "$work/output"
grep -q '^status 0' "$work/output"
