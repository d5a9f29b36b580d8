# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The Debian package, on a machine that has never seen stackd: installed, it starts by itself when there is something to
# protect; upgraded, removed and installed again under a stack that is in use, it takes no protection off and knows what it
# had done; purged, it leaves no trace. What others wrote stays, and keeps it from nothing; nor does it miss bus or systemd.
#
# timeout: 600
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs dpkg-deb
UNITS=/etc/systemd/system
package=/usr/lib/stackd-vm/extra/stackd.deb
[[ -e $package ]] || skip "no stackd.deb in the payload: run.py --extra"

# files: all that there are, but for what any package and any service leaves behind.
files() {
        find / -xdev \( -path '/var/lib/dpkg*' -o -path '/var/log*' -o -path '/var/cache*' -o -path '/usr/lib/stackd-vm*' -o -path '/root' \
                -o -path '/tmp/*' -o -path '/var/tmp/*' \) -prune -o \! -name '*.pyc' -print | sort
        # udev remembers the tags of devices until they go.
        find /run /etc/systemd -xdev -path '*stackd*' \! -path '/run/stackd-vm*' \! -path '/run/udev/*' | sort
}

units() {
        systemctl --no-legend --no-pager list-unit-files 'stackd*' 'org.stackd1*' | sort
        systemctl --no-legend --no-pager --failed
}

protected() {
        assert_marked "$server"
        assert_eq "$(memory_min "$group")" "$reserved" "reservation"
}

install() {
        dpkg --install "$1" >/run/dpkg 2>&1 || fail "dpkg: $(cat /run/dpkg)"
        cat /run/dpkg
}

# drop_in UNIT NAME: from the standard input
drop_in() {
        mkdir -p "$UNITS/$1.d"
        cat >"$UNITS/$1.d/$2"
}

# others: an administrator's own files under both of our names, and what is left of two of ours after a power failure.
others_up() {
        printf '[X-Stackd]\nIOFlusher=no\n' | drop_in mine.service 50-stackd.conf
        printf '[X-Stackd]\nIOFlusher=no\n' | drop_in mine.service zz-stackd.conf
        printf "# Written by 'stack" | drop_in cut.service zz-stackd.conf
        head -c 100 /dev/zero | drop_in zeros.service 50-stackd.conf
        printf "# Written by 'stackctl adopt'; 'stackctl release' removes it.\n\n[Unit]\nAfter=x.service\n" | drop_in mnt.mount 50-stackd-x.service.conf
}

others_stay() {
        grep -q "mine.service.d/50-stackd.conf was not written by stackctl, and stays" /run/dpkg
        grep -q "mine.service.d/zz-stackd.conf was not written by stackctl, and stays" /run/dpkg
        assert_eq "$(cd $UNITS && find . -path '*.d/*stackd*' | sort | tr '\n' ' ')" "./mine.service.d/50-stackd.conf ./mine.service.d/zz-stackd.conf "
        [[ ! -e $UNITS/cut.service.d && ! -e $UNITS/zeros.service.d && ! -e $UNITS/mnt.mount.d ]]
}

# alone COMMAND...: on a machine that has neither bus nor systemd, as far as the command can see
alone() {
        unshare --mount bash -c 'mount -t tmpfs none /run && exec "$@"' bash "$@" >/tmp/dpkg 2>&1 || fail "$*: $(cat /tmp/dpkg)"
        cat /tmp/dpkg
        mv /tmp/dpkg /run/dpkg
}

step "a machine without stackd"
systemctl stop stackd.service stackd-mark.socket stackd-mark.service
tar -tf /dev/disk/by-id/virtio-payload | grep -v -e '^usr/lib/stackd-vm/' -e '/$' | (cd / && xargs -d '\n' rm -f)
(cd / && find usr/lib/stackd usr/libexec/stackd etc/stackd usr/share/doc/stackd usr/share/dbus-1/interfaces run/stackd -depth -type d -exec rmdir {} + 2>/dev/null) || :
systemctl daemon-reload
udevadm control --reload
busctl --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
[[ ! -e /usr/bin/stackctl ]] || fail "stackctl is there"
fuse_lower_up
files >/run/before.files
units >/run/before.units

step "installed"
install "$package"
assert_eq "$(systemctl is-active stackd.service || :)" inactive "stackd, with nothing to protect"
systemd-analyze verify stackd.service stackd-mark.service stackd-mark.socket stackd-metrics.service stackd-metrics.timer 2>&1 | grep -v 'man ' && fail "systemd-analyze complains"
# Older ones cannot verify.
! udevadm verify --help >/dev/null 2>&1 || udevadm verify /usr/lib/udev/rules.d/90-stackd.rules
fuse_up single
fuse_inner_up single
server=$(main_pid "$(fuse_unit single)")
group=system.slice/$(fuse_unit single)
stopwatch 'is_marked "$server"'
wait_for 30 '(($(memory_min "$group") > 0))'
stackd_settled
reserved=$(memory_min "$group")
stackctl --no-pager status
stackctl --no-pager check || :

step "upgraded"
dpkg-deb --raw-extract "$package" /var/tmp/tree
sed -i 's/^Version: .*/&+1/' /var/tmp/tree/DEBIAN/control
dpkg-deb --root-owner-group --build /var/tmp/tree /var/tmp/stackd.deb >/dev/null
old=$(main_pid stackd.service)
install /var/tmp/stackd.deb
wait_for 20 "[[ \$(main_pid stackd.service) -gt 0 && \$(main_pid stackd.service) != $old ]]"
stackd_settled
protected
systemctl --quiet is-active stackd-mark.socket || fail "nothing can be marked any more"
stackctl --json=short status | jq -e '[.actions[] | select(.state == "applied")] | length > 0' >/dev/null

step "removed: what is in use stays as safe as it was, and what was adopted still starts"
printf '[Service]\nExecStart=sleep infinity\n' >/etc/systemd/system/adopted.service
systemctl daemon-reload
stackctl adopt adopted.service
systemctl start adopted.service
wait_for 10 'is_marked "$(main_pid adopted.service)"'  # it is begun by then, not yet made one
others_up
dpkg --remove stackd >/run/dpkg 2>&1 || fail "dpkg: $(cat /run/dpkg)"
cat /run/dpkg
others_stay
assert_eq "$(systemctl show --property=NeedDaemonReload --value adopted.service)" no "systemd has yet to be told"
protected
[[ ! -e /usr/bin/stackctl ]] || fail "stackctl is there"
for unit in stackd.service stackd-mark.service stackd-mark.socket; do
        assert_eq "$(systemctl is-active "$unit" || :)" inactive "$unit"
done
systemctl restart adopted.service
wait_for 10 '[[ $(cat /proc/$(main_pid adopted.service)/comm) == sleep ]]'
systemctl stop adopted.service
rm /etc/systemd/system/adopted.service
systemctl daemon-reload
[[ -s /run/stackd/ledger ]] || fail "the record of what was done went with the package"

step "installed again where something is stacked: it is there by itself, knows what it had done, and undoes it when nothing stands on it any more"
install "$package"
wait_for 30 'systemctl --quiet is-active stackd.service'
stackd_settled
protected
refute journalctl --quiet --unit=stackd.service --grep='changed by someone else' --lines=1
rm -r "$UNITS/mine.service.d"
fuse_inner_down single
fuse_down single
rmdir "$(fuse_inner single)" "$(fuse_mount single)"
wait_for 30 '(($(grep -c . /run/stackd/ledger) == 1))'

step "purged: no trace"
dpkg --purge stackd 2>&1
files >/run/after.files
units >/run/after.units
diff /run/before.files /run/after.files
diff /run/before.units /run/after.units
refute busctl status org.stackd1

step "without bus and systemd: installed, upgraded, removed, installed again, purged"
alone dpkg --install "$package"
alone dpkg --install /var/tmp/stackd.deb
printf "# Written by 'stackctl adopt'; 'stackctl release' removes it.\n\n[Service]\nExecStart=\nExecStart=stackctl run sleep infinity\n" |
        drop_in adopted.service zz-stackd.conf
others_up
alone dpkg --remove stackd
others_stay
alone dpkg --install "$package"
alone dpkg --purge stackd
rm -r "$UNITS/mine.service.d"
files >/run/after.files
diff /run/before.files /run/after.files
fuse_lower_down
assert_no_stack
