#!/bin/bash
# Makes a disk that GRUB boots from: boot sector and core image by hand, without root, and one partition
# with an ext4 file system that has a kernel and GRUB's configuration. The kernel is in a directory where
# only GRUB's configuration finds it.
#
# usage: make-grub-disk.sh DISK KERNEL COMMAND-LINE [INITRD]
set -eu
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

(($# == 3 || $# == 4)) || { echo "usage: $0 DISK KERNEL COMMAND-LINE [INITRD]" >&2; exit 2; }
grub=/usr/lib/grub/i386-pc
[[ -r $grub/boot.img ]] || { echo "$0: expected Debian's package grub-pc-bin to be installed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/root/boot/grub"
cp "$2" "$work/root/boot/kernel"
[[ -z ${4-} ]] || cp "$4" "$work/root/boot/initrd"
cat >"$work/root/boot/grub/grub.cfg" <<-END
	echo GRUB reads its configuration
	linux /boot/kernel $3
	${4:+initrd /boot/initrd}
	boot
END
grub-mkimage -O i386-pc -o "$work/core.img" -p '(hd0,msdos1)/boot/grub' \
	biosdisk part_msdos ext2 normal echo linux
truncate -s 63M "$work/partition"
mkfs.ext4 -q -F -O ^metadata_csum_seed -d "$work/root" "$work/partition"
python3 - "$1" "$grub/boot.img" "$work/core.img" "$work/partition" <<-'END'
	import struct, sys
	start = 2048
	disk, boot, core, partition = sys.argv[1:]
	boot = bytearray(open(boot, 'rb').read().ljust(512, b'\0'))
	core, partition = open(core, 'rb').read(), open(partition, 'rb').read()
	assert len(core) <= (start - 1) * 512
	boot[446:510] = struct.pack('<B3xB3xII', 0x80, 0x83, start, len(partition) // 512).ljust(64, b'\0')
	boot[510:] = b'\x55\xaa'
	with open(disk, 'wb') as file:
	    file.write(boot + core)
	    file.seek(start * 512)
	    file.write(partition)
END
