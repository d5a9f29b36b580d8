# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What stackctl tells while something happens: events as they come, over a restart of the daemon too, the metrics
# that the timer writes, and the picture's text.
#
# timeout: 300
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
event ".event == \"action-applied\" and .object.pid == $server and .object.to == \"all\"" >/dev/null
event ".event == \"process-changed\" and .object.pid == $server and .changes.threads_io_flusher[1] > 0" >/dev/null
# What is being cured is no hazard.
! grep -q '"hazard-appeared"' "$EVENTS" || fail "a hazard was told although its cure was under way"

step "reverted, and applied again"
stackctl --no-legend revert "$server" >/dev/null
event ".event == \"action-reverted\" and .object.pid == $server" >/dev/null
event ".event == \"hazard-appeared\" and .object.id == \"nofs-missing\" and .object.pid == $server" >/dev/null
stackctl --no-legend apply "$server" >/dev/null
wait_for 15 "[[ \$(jq -c 'select(.event == \"action-applied\" and .object.kind == \"io-flusher\")' $EVENTS | wc -l) == 2 ]]"

event ".event == \"hazard-gone\" and .object.id == \"nofs-missing\" and .object.pid == $server" >/dev/null

step "in the journal: each once, with the server's unit, and what to do"
journalctl --sync
journalctl --update-catalog
journalctl --quiet --output=json STACKD_HAZARD=nofs-missing | jq -es --arg pid "$server" --arg unit "$(fuse_unit single)" '
        length == 2 and (map(.MESSAGE_ID) | unique | length == 2) and all(._SYSTEMD_UNIT == "stackd.service") and
        (.[0] | .STACKD_PID == $pid and .UNIT == $unit and .OBJECT_SYSTEMD_UNIT == $unit and .PRIORITY == "5" and
                (.STACKD_CURE | test("^stackctl apply process:" + $pid))) and
        .[0].STACKD_ID == .[1].STACKD_ID and .[1].PRIORITY == "6"' >/dev/null
journalctl --quiet --unit="$(fuse_unit single)" --output=cat | grep '^Hazard nofs-missing (error)' >/dev/null
journalctl --quiet --catalog STACKD_HAZARD=nofs-missing | tee /run/catalog
grep "What would cure it: stackctl apply process:$server:" /run/catalog >/dev/null
journalctl --quiet --output=json STACKD_ACTION=io-flusher | jq -es --arg pid "$server" '
        length == 3 and all(.STACKD_PID == $pid and .OBJECT_PID == $pid and .MESSAGE_ID == "24a273440889447c958775c0f86ced6c")' >/dev/null

step "explained"
stackctl --no-pager explain "$(fuse_mount single)" "$server" | tee /run/explained
! LC_ALL=C.UTF-8 grep -qE '^.{81}' /run/explained || fail "wider than 80 columns"
stackctl --json=short explain "$server" | jq -e --argjson pid "$server" '
        (.reasons[0].path_certain | length == 2) and .processes[0].pid == $pid and
        any(.reasons[0].settings[]; .key == "IOFlusher" and .value == "yes" and (.source | test("/50-fuse.policy:[0-9]+$"))) and
        any(.actions[]; .kind == "io-flusher" and .state == "applied" and .when > 1700000000000000)' >/dev/null

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
systemd-analyze verify stackd-metrics.timer stackd-metrics.service stackd.service stackd-mark.service stackd-mark.socket 2>&1 | grep -v 'man ' && fail "systemd-analyze complains"
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
cursor=$(journalctl --quiet --lines=1 --show-cursor | sed -n 's/^-- cursor: //p')
rm /run/say.prom
systemctl start stackd-metrics.timer
wait_for 15 '[[ $(systemctl show --property=Result --value stackd-metrics.service) == exec-condition ]]'
systemctl start stackd-metrics.service
assert_eq "$(systemctl is-active stackd.service || :)" inactive "stackd, which the metrics do not start"
[[ ! -e /run/say.prom ]] || fail "metrics of a stackd that does not run"
journalctl --sync
assert_eq "$(journalctl --quiet --after-cursor="$cursor" --unit=stackd-metrics.service)" "" "what the journal says of it"
systemctl stop stackd-metrics.timer
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
rm -r /run/systemd/system/stackd-metrics.service.d "$EVENTS"
systemctl daemon-reload
assert_no_stack
