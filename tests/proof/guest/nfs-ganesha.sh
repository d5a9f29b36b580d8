#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# NFS 4.1 from this host <- nfs-ganesha that does not mark itself, as before 2024-08 <- ext4
#
# memory: 512
# expect: hang starved

. /usr/lib/stackd-vm/extra/proof.sh

lower_up
mkdir -p "$LOWER/export" /run/ganesha
chmod 777 "$LOWER/export"
ip link set lo up
cat >/run/ganesha.conf <<CONF
NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; Minor_Versions = 1; }
EXPORT { Export_Id = 7; Path = $LOWER/export; Pseudo = /e; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL { Name = VFS; } }
CONF
systemctl start dbus.service
systemd-run --quiet --unit=proof-server --setenv=LD_PRELOAD=/usr/lib/stackd-vm/extra/no-self-mark.so \
        /usr/bin/ganesha.nfsd -F -L /run/ganesha.log -f /run/ganesha.conf
wait_for 60 'ss -Hltn sport = :2049 | grep -q .'
mkdir -p "$UPPER"
mount -t nfs4 -o vers=4.1,rsize=262144,wsize=262144 127.0.0.1:/e "$UPPER"
# What is mounted is not full of load in the same second; where it is, see docs/proof.md. In both arms.
sleep 10
drive "nfs:$UPPER" proof-server.service
