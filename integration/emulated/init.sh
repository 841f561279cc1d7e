#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# PID 1 of the emulated machine: mounts, modules, the command, its status.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin HOME=/root TERM=linux

# The initial root file system has no parent mount, and pivot_root refuses to
# work on such a root; a bind mount of it moved over it has one.
if [ "$1" != moved ]; then
	mkdir /.root
	mount --bind / /.root
	cd /.root || exit 1
	mount --move . /
	exec chroot . /init moved
fi

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
chmod 1777 /tmp
ip link set lo up
hostname emulated
@MODULES@
# One port carries the output and, between marks, what this script says. A
# pipe stands before it because a port can be opened only once.
exec 3>/dev/vport0p1
printf '@MARK@start\n' >&3
cd /
{
	(exec sh /etc/paracell-command) 3>&- 2>&1 </dev/null
	echo $? >/run/paracell-status
} | cat >&3
printf '@MARK@exit %d\n' "$(cat /run/paracell-status)" >&3

# The host ends the machine when it has read the status.
sleep 30
poweroff -f
