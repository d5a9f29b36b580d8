# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The Debian package, on a machine that has never seen stackd: installed, it starts by itself when there is something to
# protect; upgraded, removed and installed again under a stack that is in use, it takes no protection off and knows what it
# had done; purged, it leaves no trace.
#
# timeout: 300
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs dpkg-deb
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
assert_marked "$(main_pid adopted.service)"
dpkg --remove stackd 2>&1
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
fuse_lower_down
assert_no_stack
