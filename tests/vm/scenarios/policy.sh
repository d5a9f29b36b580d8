# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Configuration as administrators change it, on a running daemon: what they write holds from the reload on, what they
# break changes nothing, and is said where they look.
#
# timeout: 600
# disks: 2
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
. /usr/lib/stackd-vm/lib/fuse.sh
. /usr/lib/stackd-vm/lib/stackd.sh
require jq bindfs runuser

etc=/etc/stackd/policy
unit=$(fuse_unit single)
mkdir -p "$etc"

# rule_of PID: the policy that its mark is from.
rule_of() {
        stackctl --json=short status | jq -er --argjson p "$1" \
                '.actions[] | select(.pid == $p and .kind == "io-flusher" and .state == "applied") | .rule'
}

# line_of PATTERN FILE
line_of() {
        grep -n "$1" "$2" | cut -d: -f1
}

reload() {
        systemctl reload stackd.service
}

# refused TEXT [once]: a reload that fails and says so, to whoever asks (systemctl too, unless
# once is enough, where each waits for a deadline) and in the journal, while stackd goes on.
refused() {
        local status=0
        stackctl reload 2>/run/stderr || status=$?
        cat /run/stderr
        assert_eq "$status" 1 "status of a reload with $1"
        grep -qF "$1" /run/stderr || fail "the caller was not told of '$1'"
        [[ ${2:-} == once ]] || ! reload || fail "systemctl took a reload with $1 for done"
        systemctl --quiet is-active stackd.service
        journalctl --quiet --unit=stackd.service --grep="$(printf '%s' "$1" | sed 's/[][\\.*^$/]/\\&/g')" --lines=1 >/dev/null ||
                fail "the journal does not know of '$1'"
        assert_marked "$server"
}

step "the shipped configuration has nothing wrong with it"
systemctl start stackd.service
stackctl reload 2>/run/stderr
[[ ! -s /run/stderr ]] || fail "$(cat /run/stderr)"
fuse_lower_up
fuse_up single
server=$(main_pid "$unit")
stopwatch 'is_marked "$server"'
stackd_settled
shipped=/usr/lib/stackd/policy/50-fuse.policy
assert_eq "$(rule_of "$server")" "$shipped:$(line_of ^IOFlusher= "$shipped")" "the rule of a FUSE daemon at depth 1"
fuse_inner_up single
stackd_settled
default=/usr/lib/stackd/policy/90-default.policy
assert_eq "$(rule_of "$server")" "$default:$(line_of ^IOFlusher= "$default")" "its rule at depth 2"
fuse_inner_down single

step "a drop-in takes it off; without it, it is back"
mkdir -p "$etc/50-fuse.policy.d"
printf '[Process]\nIOFlusher=no\n' >"$etc/50-fuse.policy.d/off.conf"
assert_marked "$server" # not before the reload
reload
echo "unmarked after $(stopwatch 'is_unmarked "$server"') ms"
stackctl --json=short plan | jq -e '.actions | length == 0' >/dev/null
rm "$etc/50-fuse.policy.d/off.conf"
reload
echo "marked after $(stopwatch 'is_marked "$server"') ms"

step "a mask"
ln -s /dev/null "$etc/50-fuse.policy"
reload
stackd_settled
assert_eq "$(rule_of "$server")" "$default:$(line_of ^IOFlusher= "$default")" "the rule with 50-fuse.policy masked"
rm "$etc/50-fuse.policy"

step "one that comes first"
printf '# mine\n[Match]\nUnit=%s\n[Process]\nIOFlusher=yes\n' "$unit" >"$etc/10-mine.policy"
reload
stackd_settled
assert_eq "$(rule_of "$server")" "$etc/10-mine.policy:5" "the rule that comes first"
stackctl cat-config --no-pager >/run/config
grep -qxF "# $etc/10-mine.policy" /run/config
grep -qxF "Unit=$unit" /run/config
stackctl --json=short cat-config | jq -e --arg p "$etc/10-mine.policy" \
        '.files[] | select(.path == $p) | .lines[] | select(.line == 5 and .text == "IOFlusher=yes")' >/dev/null

step "what is broken changes nothing"
mine=$etc/10-mine.policy
printf '[Match]\nUnit=%s\n\0[Process]\nIOFlusher=no\n' "$unit" >"$mine"
refused "$mine:3: a NUL byte"
printf '[Match]\nUnit=%s\n[Process]\nIOFlus' "$unit" >"$mine"
refused "$mine:4: neither KEY=VALUE nor [SECTION]"
printf '[Match]\nUnit=%s\n[Process]\nIOFlusher=perhaps\n' "$unit" >"$mine"
refused "$mine:4: IOFlusher=perhaps"
printf '[Match]\nUnti=%s\n[Process]\nIOFlusher=no\n' "$unit" >"$mine"
refused "$mine:2: Unti="
head -c 10M /dev/zero | tr '\0' x >"$mine"
refused "$mine: is larger than 1 MiB"
ln -sf 10-mine.policy "$mine"
refused "$mine: Too many levels of symbolic links"
rm "$mine"
mkfifo "$mine"
refused "$mine: is no regular file"
rm "$mine"
mv "$etc" "$etc.away"
ln -s policy "$etc"
refused "$etc: Too many levels of symbolic links"
rm "$etc"
mv "$etc.away" "$etc"
stackd_settled

step "... nor what is on storage that is gone, or hangs"
mkdir -p "$FUSE_LOWER/elsewhere" /mnt/elsewhere
printf '[Match]\nUnit=%s\n[Process]\nIOFlusher=yes\n' "$unit" >"$FUSE_LOWER/elsewhere/x.policy"
systemd-run --quiet --unit=elsewhere bindfs -f "$FUSE_LOWER/elsewhere" /mnt/elsewhere
wait_for 20 'mountpoint --quiet /mnt/elsewhere'
elsewhere=$(main_pid elsewhere.service)
ln -s /mnt/elsewhere/x.policy "$mine"
printf '[Match]\nMount=%s\n[Writeback]\nMaxRatio=7\n' "$(fuse_mount single)" >"$etc/60-ratio.policy"
reload
stackd_settled
assert_eq "$(rule_of "$server")" "$mine:4" "the rule from elsewhere"
ratio=/sys/class/bdi/$(mountpoint --fs-devno "$(fuse_mount single)")/max_ratio
assert_eq "$(cat "$ratio")" 7
kill -STOP "$elsewhere"
refused "configuration: it could not be read to its end" once
stackd_settled
assert_eq "$(rule_of "$server") $(cat "$ratio")" "$mine:4 7"

step "a start with such a file: what was done stays, and the rest is read when it can be"
systemctl restart stackd.service
stackd_settled
assert_marked "$server"
assert_eq "$(cat "$ratio")" 7
stackctl cat-config --no-pager >/run/config 2>/run/stderr
grep -F 'configuration: it could not be read to its end; it is read again' /run/stderr
refute grep -F 60-ratio.policy /run/config
kill -CONT "$elsewhere"
wait_for 120 'stackctl cat-config --no-pager 2>&1 | grep -qF 60-ratio.policy'
stackctl cat-config --no-pager 2>/run/stderr >/dev/null
[[ ! -s /run/stderr ]] || fail "$(cat /run/stderr)"
stackd_settled
assert_eq "$(rule_of "$server") $(cat "$ratio")" "$mine:4 7"
kill -KILL "$elsewhere"
wait_for 20 '! systemctl --quiet is-active elsewhere.service'
systemctl reset-failed elsewhere.service
refused "$mine: Transport endpoint is not connected"
stackd_settled
assert_eq "$(rule_of "$server") $(cat "$ratio")" "$mine:4 7"
umount /mnt/elsewhere
rm "$mine" "$etc/60-ratio.policy"
reload
stackd_settled
assert_eq "$(cat "$ratio")" 1 "max_ratio without the policy"

step "... nor after a restart, when it is broken still"
printf '[Match]\nUnit=%s\n\0[Process]\nIOFlusher=no\n' "$unit" >"$mine"
systemctl restart stackd.service
stackd_settled
assert_marked "$server"
assert_eq "$(rule_of "$server")" "$shipped:$(line_of ^IOFlusher= "$shipped")" "the rule when the first one is no text"
rm "$mine"
reload

step "a word that nobody knows is a warning"
printf '[Match]\nUnit=%s\n[Process]\nColour=red\nIOFlusher=yes\n' "$unit" >"$mine"
stackctl reload 2>/run/stderr
grep -F "$mine:4: [Process] has no setting 'Colour'" /run/stderr
stackd_settled
assert_eq "$(rule_of "$server")" "$mine:5" "the rest of the file holds"
rm "$mine"

step "a service speaks for itself"
dropin=/run/systemd/system/$unit.d
mkdir -p "$dropin"
printf '[X-Stackd]\nIOFlusher=no\n' >"$dropin/50-stackd.conf"
reload
stopwatch 'is_unmarked "$server"' >/dev/null
systemctl daemon-reload # systemd leaves it to us, without a word
refute journalctl --quiet --grep='50-stackd.conf' _PID=1 --lines=1
rm -r "$dropin"
systemctl daemon-reload
reload
stopwatch 'is_marked "$server"' >/dev/null

step "a signal does it too"
printf '[Process]\nIOFlusher=no\n' >"$etc/50-fuse.policy.d/off.conf"
systemctl kill --signal=HUP --kill-whom=main stackd.service
stopwatch 'is_unmarked "$server"' >/dev/null
wait_for 10 'systemctl --quiet is-active stackd.service'
rm "$etc/50-fuse.policy.d/off.conf"
reload
stopwatch 'is_marked "$server"' >/dev/null

step "an ordinary user may look, and reload nothing"
runuser -u user -- stackctl cat-config --no-pager >/run/config
grep -qF 90-default.policy /run/config
printf '[Match]\nUnit=%s\n# confidential\n[Process]\nIOFlusher=yes\nConfidential=x\n' "$unit" >"$mine"
chmod 600 "$mine"
stackctl reload 2>/run/stderr
grep -F "$mine:6: [Process] has no setting 'Confidential'" /run/stderr
stackctl cat-config --no-pager 2>&1 | grep -xF '# confidential'
runuser -u user -- stackctl cat-config --no-pager >/run/config 2>&1
grep -xF "# $mine  (not everybody may read it: shown to root only)" /run/config
refute grep -i confidential /run/config
rm "$mine"
reload
refute runuser -u user -- stackctl reload
refute runuser -u user -- busctl call org.stackd1 /org/stackd1 org.stackd1.Manager Reload

step "whom a policy entitles"
fuse_allow_other
mkdir -p /run/foreign/a /run/foreign/b
chown -R user: /run/foreign
systemd-run --quiet --scope --slice=user-1000.slice --unit=foreign.scope --uid=user bindfs -f /run/foreign/a /run/foreign/b &
defer "umount /run/foreign/b || :"
wait_for 30 'mountpoint --quiet /run/foreign/b'
foreign=$(pgrep -u user -x bindfs)
stackd_settled
is_entitled() {
        stackctl --json=short status | jq -e --argjson p "$foreign" '.processes[] | select(.pid == $p) | .entitled' >/dev/null
}
! is_entitled || fail "a user's process is entitled without a policy"
printf '[Match]\nProcess=bindfs\n[Process]\nEntitled=yes\n' >"$mine"
stackctl reload 2>/run/stderr
grep -F "$mine:4: Entitled= needs User= or Unit=" /run/stderr
stackd_settled
! is_entitled || fail "a process was entitled by its name alone"
printf '[Match]\nUser=user\n[Process]\nEntitled=yes\n' >"$mine"
reload
stackd_settled
is_entitled || fail "a policy that names the user does not entitle him"
rm "$mine"
reload
stackd_settled
! is_entitled || fail "entitled without the policy still"
umount /run/foreign/b

step "stackd.conf: look, and do nothing"
mkdir -p /etc/stackd/stackd.conf.d
printf '[Stackd]\nApply=no\n' >/etc/stackd/stackd.conf.d/50-look.conf
reload
fuse_up pool
pool=$(main_pid "$(fuse_unit pool)")
stackd_settled
assert_unmarked "$pool"
stackctl --json=short plan | jq -e '.actions | length > 0' >/dev/null
rm /etc/stackd/stackd.conf.d/50-look.conf
reload
stopwatch 'is_marked "$pool"' >/dev/null
fuse_down pool

step "many reloads leave nothing open"
stackd=$(main_pid stackd.service)
before=$(find "/proc/$stackd/fd" | wc -l)
for ((i = 0; i < 25; i++)); do
        printf '[Match]\nProcess=bindfs\n[Process]\nIOFlusher=yes\n# %s\n' "$i" >"$mine"
        stackctl reload
done
stackd_settled
assert_eq "$(main_pid stackd.service)" "$stackd" "stackd"
after=$(find "/proc/$stackd/fd" | wc -l)
((after <= before + 1)) || fail "$before descriptors before, $after after 25 reloads"
[[ -z $(ps --no-headers --ppid "$stackd" -o pid) ]] || fail "children left: $(ps --ppid "$stackd")"
assert_marked "$server"
rm -r "$mine" "$etc/50-fuse.policy.d"

step "down"
fuse_down single
fuse_lower_down
assert_no_stack
