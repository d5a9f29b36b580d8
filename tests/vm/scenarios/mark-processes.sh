# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Processes of every odd kind and hostile ones, with the real flag; see
# tests/mark/test-mark-processes.py.
#
# timeout: 500
# needs: stackd

. /usr/lib/stackd-vm/lib/lib.sh
extra=/usr/lib/stackd-vm/extra
[[ -x $extra/odd ]] || skip "no test programs in the payload: run.py --extra"
modprobe fuse
python3 "$extra/test-mark-processes.py" /usr/libexec/stackd/stackd-mark "$extra" --real --deaths 0 | tee /run/output
# Last, for it holds until the end of the guest: nobody may trace.
python3 "$extra/test-mark-processes.py" /usr/libexec/stackd/stackd-mark "$extra" --real --only yama | tee -a /run/output
# The kernel has all of these, so they are no reason to skip.
! grep '# SKIP' /run/output | grep -v gocryptfs || fail "skipped"
! grep -E '^not ok' /run/output || fail "see above"
