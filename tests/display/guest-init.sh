#!/bin/busybox sh
# The guest of display.py: a line in colours on the text screen, then a shell there.
/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
printf '\033[33;44mhello from the guest\033[0m\n' >/dev/tty0
exec setsid cttyhack sh
