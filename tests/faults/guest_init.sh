#!/bin/sh
# The first program of the virtual machine of guest.py: it carries out the lines that come over the port
# `command`, and ends what it says to each with \001 and an exit code.

# set_up FILE_SYSTEM: the home comes onto a disk whose writes can be dropped, and is safe there.
set_up() {
    size=$(blockdev --getsz /dev/vda)
    echo "0 $size flakey /dev/vda 0 1 0" >/run/keeping
    echo "0 $size flakey /dev/vda 0 0 1 1 drop_writes" >/run/dropping
    echo "$1" >/run/file-system
    dmsetup create disk /run/keeping
    mount -t "$1" /dev/mapper/disk /mnt
    cp -a /seed/H /mnt
    sync
}

# start [LIBRARY]: the gateway, with that library before its own; until it listens.
start() {
    LD_PRELOAD=${1:-} setsid mash-gateway serve --home /mnt/H >/run/said 2>>/run/serve.log &
    echo $! >/run/pid
    until grep -qs Listening /run/said; do
        kill -0 $!
        usleep 20000
    done
    # For the next cut: it comes into force when the disk is next resumed.
    dmsetup load disk /run/dropping
}

# cut NUMBER frozen|running: the power fails, and comes back. power.py says why it is done in this order.
cut() {
    read -r gateway </run/pid
    if [ "$2" = frozen ]; then
        kill -STOP "$gateway"
        while grep -L '^State:.T' /proc/"$gateway"/task/*/status | grep -q .; do :; done
    fi
    # What no power cut leaves there.
    echo "not synced" >"/mnt/unsynced-$1"
    # Without --nolockfs everything in memory would be written first.
    dmsetup suspend --nolockfs --noflush disk
    dmsetup resume disk
    killall -9 mash-gateway
    wait_for_its_end
    umount /mnt
    dmsetup load disk /run/keeping
    dmsetup suspend disk
    dmsetup resume disk
    echo 3 >/proc/sys/vm/drop_caches
    mount -t "$(cat /run/file-system)" /dev/mapper/disk /mnt
}

stop() {
    kill -TERM "$(cat /run/pid)"
    wait_for_its_end
}

wait_for_its_end() {
    while pidof mash-gateway >/dev/null; do
        usleep 20000
    done
}

/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
while read -r module; do
    insmod "$module"
done </modules
# dmsetup makes the devices itself.
export DM_DISABLE_UDEV=1
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
port=$(grep -lx command /sys/class/virtio-ports/*/name)
port=/dev/$(basename "$(dirname "$port")")
# It can be opened only once.
exec <>"$port" >&0
printf '\001%d\n' 0
while read -r words; do
    (set -e; $words) </dev/null 2>&1
    printf '\001%d\n' "$?"
done
