#!/bin/bash
# Debian's kernel goes to sleep (S3) and wakes (guest-init.sh), booted directly and by firmware. Speaks TAP.
#
# usage: sleep.sh VENEER SOURCE-DIR ENGINE CPUS...
#
# In the environment: GUEST, a directory that guests/fetch-debian.sh filled; PARTS, which run (direct,firmware).
set -u
export LC_ALL=C

(($# >= 4)) || { echo "usage: $0 VENEER SOURCE-DIR ENGINE CPUS..." >&2; exit 2; }
veneer=$1
source=$2
engine=$3
shift 3
guest=${GUEST:-$source/.cache/guest}
parts=${PARTS:-direct,firmware}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
. "$source/tests/boot/linux-guest.sh"

"$source/guests/make-initramfs.sh" "$work/initramfs" --guest "$guest" --init "$source/tests/sleep/guest-init.sh" \
	--module virtio_pci --module virtio_blk --module virtio_net --module ata_piix --module sd_mod || exit 2
mkdir "$work/tftp" && text >"$work/tftp/text"
cmdline="console=ttyS0 quiet panic=-1 no_console_suspend"

disks()
{
	truncate -s 32M "$work/virtio" "$work/ide"
}

devices=(--disk "$work/virtio,bus=virtio" --disk "$work/ide,bus=ide" --net "user,tftp=$work/tftp")

direct()	# CPUS
{
	disks
	boot direct "$1" --append "$cmdline" "${devices[@]}"
	judge direct "$engine, $1 CPU, direct boot"
}

firmware()	# CPUS: GRUB, from the first disk
{
	if [[ ! -e $bios || ! -e /usr/lib/grub/i386-pc/boot.img ]]; then
		echo "# SKIP by firmware: install seabios and grub-pc-bin"
		return
	fi
	disks
	"$source/tests/firmware/make-grub-disk.sh" "$work/grub" "$guest/vmlinuz" "$cmdline" "$work/initramfs" || return
	timeout -k 5 $((120 * ${TIMEOUT_SCALE:-1})) "$veneer" run --firmware "$bios" --cpus "$1" --memory 256M \
		--engine "$engine" --no-reboot --disk "$work/grub,bus=virtio" "${devices[@]}" </dev/null \
		>"$work/firmware.log" 2>"$work/firmware.err"
	echo $? >"$work/firmware.status"
	judge firmware "$engine, $1 CPU, SeaBIOS"
}

bios=/usr/share/seabios/bios-256k.bin
for cpus; do
	for part in ${parts//,/ }; do
		"$part" "$cpus"
	done
done
echo "1..$number"
((failures == 0))
