# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What stackctl tells while something happens: events as they come, over a restart of the daemon too, the metrics
# that the timer writes, and the picture's text.
#
# timeout: 300
# by hand: it has not been seen to pass yet
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs

FUSE_UNIT_OPTIONS=(--property=AmbientCapabilities=CAP_SYS_RESOURCE)
EVENTS=/run/say-events

# event FILTER: the first that has come and fits; waits for it.
event() {
        wait_for 15 "jq -ce 'select($1)' '$EVENTS' >/dev/null"
        jq -ce "select($1)" "$EVENTS" | head -n 1
}

fuse_lower_up
systemctl start stackd.service
stackd_settled
step "a monitor, and a file system whose server is marked"
systemd-run --quiet --unit=say-monitor --property=StandardOutput="file:$EVENTS" stackctl monitor --json=short
event '.event == "ready"' >/dev/null
fuse_up single
server=$(main_pid "$(fuse_unit single)")
event ".event == \"layer-appeared\" and (.object.mounts | index(\"$(fuse_mount single)\"))" >/dev/null
event ".event == \"process-appeared\" and .object.pid == $server" >/dev/null
event ".event == \"layer-changed\" and .changes.depth == [0, 1]" >/dev/null
event '.event == "hazard-appeared" and .object.id == "nofs-missing"' >/dev/null
event ".event == \"action-applied\" and .object.pid == $server and .object.to == \"all\"" >/dev/null
event ".event == \"process-changed\" and .object.pid == $server and .changes.threads_io_flusher[1] > 0" >/dev/null
event '.event == "hazard-gone" and .object.id == "nofs-missing"' >/dev/null

step "reverted, and applied again"
stackctl --no-legend revert "$server" >/dev/null
event ".event == \"action-reverted\" and .object.pid == $server" >/dev/null
stackctl --no-legend apply "$server" >/dev/null
wait_for 15 "[[ \$(jq -c 'select(.event == \"action-applied\" and .object.kind == \"io-flusher\")' $EVENTS | wc -l) == 2 ]]"

step "stackd is killed, and something happens before it is back"
systemctl stop stackd.service
event '.event == "daemon-gone"' >/dev/null
fuse_inner_up single
systemctl start stackd.service
event '.event == "daemon-back"' >/dev/null
event ".event == \"layer-appeared\" and (.object.mounts | index(\"$(fuse_inner single)\"))" >/dev/null
event ".event == \"process-changed\" and .changes.depth == [1, 2]" >/dev/null
kill -KILL "$(main_pid stackd.service)"
wait_for 15 "[[ \$(jq -c 'select(.event == \"daemon-back\")' $EVENTS | wc -l) == 2 ]]"
systemctl --quiet is-active say-monitor.service || fail "the monitor has ended"

step "the picture and the metrics"
stackctl graph | grep -q 'digraph stacks'
stackctl graph | grep -q "$(fuse_inner single)"
systemd-analyze verify stackd-metrics.timer stackd-metrics.service stackd.service 2>&1 | grep -v 'man ' && fail "systemd-analyze complains"
install -d /run/systemd/system/stackd-metrics.service.d
printf '[Service]\nEnvironment=STACKD_METRICS_FILE=/run/say.prom\n' >/run/systemd/system/stackd-metrics.service.d/say.conf
systemctl daemon-reload
systemctl start stackd-metrics.timer
wait_for 15 '[[ -s /run/say.prom ]]'
grep -q "^stackd_process_marked{.*pid=\"$server\".*} 1\$" /run/say.prom
grep -q '^stackd_hazards{severity="error"} 0$' /run/say.prom
assert_eq "$(tail -n 1 /run/say.prom)" "# EOF"
assert_eq "$(stat -c %a /run/say.prom)" 644
systemctl stop stackd-metrics.timer
systemctl stop stackd.service
! systemctl start stackd-metrics.service 2>/dev/null || fail "the metrics started stackd"
systemctl start stackd.service

step "taken down: the monitor ends when it is told to"
fuse_inner_down single
fuse_down single
stackd_settled
event ".event == \"process-gone\" and .object.pid == $server" >/dev/null
wait_for 15 "jq -e 'select(.event == \"layer-gone\")' $EVENTS >/dev/null"
systemctl stop say-monitor.service
assert_eq "$(systemctl show --property=Result --value say-monitor.service)" success
fuse_lower_down
rm -r /run/systemd/system/stackd-metrics.service.d "$EVENTS" /run/say.prom
systemctl daemon-reload
assert_no_stack
