#!/bin/bash
# Boots a disk by Debian's OVMF: GRUB, and a kernel that says what it has found of EFI. Speaks TAP.
#
# usage: efi.sh VENEER KERNEL BUSYBOX
set -u
export LC_ALL=C

(($# == 3)) || { echo "usage: $0 VENEER KERNEL BUSYBOX" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
veneer=$1
ovmf=/usr/share/OVMF/OVMF_CODE_4M.fd
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failures=0

for file in "$ovmf" /usr/lib/grub/x86_64-efi/linux.mod /usr/bin/mcopy; do
	[[ -r $file ]] || { echo "1..0 # SKIP there is no $file"; exit 0; }
done

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
	tail -c 4000 "$work/out" | tr -c '[:print:]\n' '.' | sed 's/^/# /'
}

run()		# ARGUMENTS...: into $work/out and $status
{
	timeout -k 5 "${limit:-150}" "$veneer" run --firmware "$ovmf" --net none --no-reboot "$@" \
		>"$work/out" 2>&1 </dev/null
	status=$?
}

mkdir -p "$work/root/bin"
cp "$3" "$work/root/bin/busybox"
cat >"$work/root/init" <<-'END'
	#!/bin/busybox sh
	/bin/busybox mkdir /sys
	/bin/busybox mount -t sysfs sysfs /sys
	/bin/busybox echo "EFI of $(/bin/busybox cat /sys/firmware/efi/fw_platform_size) bits," \
		"$(/bin/busybox ls /sys/firmware/efi/runtime-map | /bin/busybox wc -l) runtime regions"
	# With three processors it sleeps first (S3).
	/bin/busybox mkdir /proc
	/bin/busybox mount -t proc proc /proc
	if [ "$(/bin/busybox nproc)" = 3 ]; then
		echo +2 >/sys/class/rtc/rtc0/wakealarm
		echo mem >/sys/power/state && echo "awake again with $(/bin/busybox nproc)"
	fi
	/bin/busybox poweroff -f
END
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc --quiet) >"$work/initrd"
"$here/make-efi-disk.sh" "$work/disk" "$2" "$work/initrd" 'console=ttyS0 panic=-1' >"$work/out" 2>&1 ||
	result 1 "a disk for EFI"

# Twice with the same variables. OVMF makes a variable for the disk when it meets it.
for try in 'from the template' 'kept by the first run'; do
	run --disk "$work/disk,snapshot,bus=virtio" --firmware-vars "$work/variables"
	((status == 0)) && grep -q 'GRUB runs' "$work/out" && grep -q 'EFI of 64 bits, [1-9]' "$work/out" &&
		grep -q 'efi: EFI v2' "$work/out" && grep -q 'ACPI: RSDP .* VENEER' "$work/out" &&
		! grep -E 'ACPI (BIOS )?(Error|Warning)|ACPI: .*[Ii]nvalid' "$work/out" &&
		grep -qaP 'B\0o\0o\0t\0O\0r\0d\0e\0r\0' "$work/variables"
	result $? "OVMF boots a disk, with variables $try"
done

for bus in ahci ide nvme scsi; do
	run --disk "$work/disk,snapshot,bus=$bus"
	((status == 0)) && grep -q 'EFI of 64 bits' "$work/out"
	result $? "OVMF boots a disk at $bus, and forgets its variables"
done

run --disk "$work/disk,snapshot,bus=virtio" --cpus 3
((status == 0)) && grep -q 'awake again with 3' "$work/out"
result $? "a machine that OVMF has started sleeps and wakes"

echo "1..$number"
((failures == 0))
