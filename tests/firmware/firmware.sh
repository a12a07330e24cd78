#!/bin/bash
# Boots disks by Debian's SeaBIOS, to what their boot sectors say, and, given a kernel, to what that says
# when GRUB has started it. Speaks TAP.
#
# usage: firmware.sh VENEER BUILD-DIR [KERNEL]
set -u
export LC_ALL=C

(($# == 2 || $# == 3)) || { echo "usage: $0 VENEER BUILD-DIR [KERNEL]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
veneer=$1
kernel=${3-}
sectors=$2/tests/firmware
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failures=0

[[ -r /usr/share/seabios/bios-256k.bin ]] || { echo "1..0 # SKIP there is no seabios"; exit 0; }

result()	# STATUS NAME: 0 is a pass; on a failure shows what the last run said
{
	number=$((number + 1))
	if (($1 == 0)); then
		echo "ok $number - $2"
		return
	fi
	failures=$((failures + 1))
	echo "not ok $number - $2"
	echo "# exit status ${status-none}"
	head -c 4000 "$work/out" | tr -c '[:print:]\n' '.' | sed 's/^/# /'
}

run()		# ARGUMENTS...: into $work/out and $status
{
	timeout -k 5 "${limit:-60}" "$veneer" run "$@" >"$work/out" 2>&1 </dev/null
	status=$?
}

# --- a boot sector ---

cp "$sectors/boot-sector.bin" "$work/disk"
truncate -s 1M "$work/disk"
for engine in interp bt; do
	run --engine "$engine" --disk "$work/disk" --debug-exit 0xf4
	((status == 33)) && grep -q 'SeaBIOS (version' "$work/out" &&
		(($(grep -c 'The boot sector runs' "$work/out") == 2)) &&
		(($(grep -c 'SeaBIOS (version' "$work/out") == 2))
	result $? "SeaBIOS boots a disk, and boots it again after a reset: $engine"
done
run --disk "$work/disk" --debug-exit 0xf4 --cpus 4 --memory 4G --firmware-log "$work/log"
((status == 33)) && grep -q 'Found 4 cpu(s)' "$work/log" &&
	grep -q '0000000100000000 - 0000000150000000 = 1 RAM' "$work/log"
result $? "SeaBIOS finds processors and memory"
grep -q 'ACPI: parse DSDT' "$work/log" && grep -q 'Copying SMBIOS 3.0' "$work/log"
result $? "SeaBIOS loads the ACPI and SMBIOS tables"
truncate -s 1M "$work/empty"
run --disk "$work/disk" --disk "$work/empty" --debug-exit 0xf4 --boot order=c,menu=on
((status == 33)) && grep -q 'Press ESC for boot menu' "$work/out" && grep -q 'The boot sector runs' "$work/out"
result $? "a boot menu; of two disks the first one is booted"
run "$work/disk" --debug-exit 0xf4 --net none
((status == 33)) && grep -q 'The boot sector runs' "$work/out"
result $? "a disk without a kernel that veneer finds is booted by firmware"
limit=5 run --net none
((status == 124)) && grep -q 'No bootable device' "$work/out"
result $? "a machine without anything says so"

cp "$sectors/boot-sector.bin" "$work/floppy"
truncate -s 1440K "$work/floppy"
for order in ac:Floppy ca:'Hard Disk'; do
	run --disk "$work/disk" --floppy "$work/floppy" --debug-exit 0xf4 --boot "order=${order%:*}"
	((status == 33)) && grep -m 1 'Booting from' "$work/out" | grep -q "from ${order#*:}"
	result $? "of a disk and a floppy, order=${order%:*} boots the ${order#*:}"
done

run --disk "$work/disk,bootindex=1" --floppy "$work/floppy" --debug-exit 0xf4 --boot order=ac
((status == 33)) && grep -m 1 'Booting from' "$work/out" | grep -q 'from Hard Disk'
result $? "what has a bootindex comes before what order says"
run --disk "$work/disk" --floppy "$work/floppy" --debug-exit 0xf4 --boot once=a,order=c
((status == 33)) && [[ $(grep -o 'Booting from [A-Z]' "$work/out" | tr '\n' ,) == 'Booting from F,Booting from H,' ]]
result $? "what is to be booted once is not after a reset"

# --- a network ---

# The boot sector is a network bootstrap program as well. The disk would boot, too.
rom=/usr/lib/ipxe/qemu/pxe-virtio.rom
if [[ -r $rom ]]; then
	mkdir "$work/tftp"
	cp "$sectors/boot-sector.bin" "$work/tftp/program"
	run --option-rom "$rom" --net "user,tftp=$work/tftp,bootfile=program" --disk "$work/disk" \
		--boot order=nc --debug-exit 0xf4
	((status == 33)) && (($(grep -c 'tftp://10.0.2.2/program... ok' "$work/out") == 2)) &&
		(($(grep -c 'The boot sector runs' "$work/out") == 2))
	result $? "iPXE boots a file by TFTP over virtio-net, and boots it again after a reset"
fi

# --- a kernel that calls the BIOS ---

if [[ -r /usr/lib/syslinux/memdisk ]]; then
	run --kernel /usr/lib/syslinux/memdisk --initrd "$work/disk" --append harddisk --debug-exit 0xf4
	((status == 33)) && (($(grep -c 'command line: harddisk' "$work/out") == 2)) &&
		(($(grep -c 'The boot sector runs' "$work/out") == 2))
	result $? "memdisk is entered in real mode, and boots a disk that is its initrd"
fi

# --- a boot loader ---

if [[ -n $kernel && -r /usr/lib/grub/i386-pc/boot.img ]]; then
	"$here/make-grub-disk.sh" "$work/grub" "$kernel" 'console=ttyS0 earlyprintk=ttyS0 panic=-1' >"$work/out" 2>&1 &&
		limit=200 run --firmware /usr/share/seabios/bios-256k.bin --disk "$work/grub,snapshot" \
			--no-reboot
	grep -q 'GRUB reads its configuration' "$work/out" && grep -q 'Linux version' "$work/out" &&
		grep -q 'ACPI: RSDP 0x00000000000F.* VENEER' "$work/out" &&
		! grep -E 'ACPI (BIOS )?(Error|Warning)|ACPI: .*[Ii]nvalid' "$work/out"
	result $? "GRUB starts Debian's kernel, which finds the tables where firmware has put them"
fi

echo "1..$number"
((failures == 0))
