#!/bin/bash
# Makes a disk that EFI firmware boots: a GPT with one partition, the EFI system partition, in which there are
# GRUB, a kernel and an initrd. Without root.
#
# usage: make-efi-disk.sh DISK KERNEL INITRD COMMAND-LINE
set -eu
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

(($# == 4)) || { echo "usage: $0 DISK KERNEL INITRD COMMAND-LINE" >&2; exit 2; }
grub=/usr/lib/grub/x86_64-efi
[[ -r $grub/linux.mod ]] || { echo "$0: expected Debian's package grub-efi-amd64-bin to be installed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/grub.cfg" <<-END
	search --no-floppy --file --set=root /kernel
	echo GRUB runs
	linux /kernel $4
	initrd /initrd
	boot
END
grub-mkimage -O x86_64-efi -d "$grub" -p / -c "$work/grub.cfg" -o "$work/BOOTX64.EFI" \
	part_gpt fat search search_fs_file linux boot echo efi_gop
truncate -s 62M "$work/esp"
mkfs.vfat -n EFI "$work/esp" >/dev/null
mmd -i "$work/esp" ::EFI ::EFI/BOOT
mcopy -i "$work/esp" "$work/BOOTX64.EFI" ::EFI/BOOT
mcopy -i "$work/esp" "$2" ::kernel
mcopy -i "$work/esp" "$3" ::initrd
truncate -s 64M "$1"
printf 'label: gpt\nstart=1MiB, size=62MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n' | sfdisk -q "$1"
dd if="$work/esp" of="$1" bs=1M seek=1 conv=sparse,notrunc status=none
