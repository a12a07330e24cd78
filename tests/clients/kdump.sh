#!/bin/bash
# Debian's kernel panics, and a second one, which its kexec-tools have loaded before, saves the memory of the first
# to a disk (kdump). Run on demand: it takes a minute, and wants Debian's packages kexec-tools and binutils. Speaks TAP.
#
# usage: kdump.sh VENEER SOURCE-DIR [ENGINE [CPUS]]
#
# In the environment: GUEST, a directory that guests/fetch-debian.sh filled; VMLINUX, that kernel with its symbols (from
# Debian's package linux-image-VERSION-dbg), by which crash(8), where it is installed, reads what was saved.
set -u
export LC_ALL=C

(($# >= 2)) || { echo "usage: $0 VENEER SOURCE-DIR [ENGINE [CPUS]]" >&2; exit 2; }
veneer=$1
source=$2
engine=${3:-bt}
cpus=${4:-2}
guest=${GUEST:-$source/.cache/guest}
kexec=$(PATH=$PATH:/usr/sbin:/sbin command -v kexec) || { echo "$0: install kexec-tools" >&2; exit 2; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failures=0

check()	# NAME COMMAND...
{
	local name=$1

	shift
	number=$((number + 1))
	if "$@" >"$work/said" 2>&1; then
		echo "ok $number - $name"
	else
		failures=$((failures + 1))
		echo "not ok $number - $name"
		tail -n 20 "$work/said" "$work/log" | tr -d '\r' | sed 's/^/# /'
	fi
}

# The second system's /init.
cat >"$work/second" <<'END'
#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
modprobe virtio_pci
modprobe virtio_blk
for try in 1 2 3 4 5 6 7 8 9 10; do
	[ -b /dev/vda ] && break
	sleep 1
done
echo "the second kernel runs on $(nproc) processor, vmcore of $(stat -c %s /proc/vmcore) bytes"
dd if=/proc/vmcore of=/dev/vda bs=1M conv=fsync && echo "the dump is written"
poweroff -f
END
# The first system's.
cat >"$work/first" <<'END'
#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
echo "crash kernel: $(cat /sys/kernel/kexec_crash_size) bytes"
kexec -p /vmlinuz --initrd=/second.cpio --append="console=ttyS0 irqpoll nr_cpus=1 reset_devices panic=-1" || poweroff -f
[ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ] && echo "the second kernel is loaded"
echo c >/proc/sysrq-trigger
END
chmod +x "$work/first" "$work/second"
"$source/guests/make-initramfs.sh" "$work/second.cpio" --guest "$guest" --init "$work/second" --module virtio_pci \
	--module virtio_blk || exit 2
files=(--file "$kexec:/bin/kexec" --file "$guest/vmlinuz:/vmlinuz" --file "$work/second.cpio:/second.cpio")
for library in $(ldd "$kexec" | grep -o '/[^ ]*'); do
	files+=(--file "$(readlink -f "$library"):$library")
done
"$source/guests/make-initramfs.sh" "$work/first.cpio" --guest "$guest" --init "$work/first" "${files[@]}" || exit 2

truncate -s 700M "$work/disk"
timeout -k 5 $((300 * ${TIMEOUT_SCALE:-1})) "$veneer" run --engine "$engine" --cpus "$cpus" --memory 640M --no-reboot \
	--kernel "$guest/vmlinuz" --initrd "$work/first.cpio" --append "console=ttyS0 crashkernel=192M" \
	--disk "$work/disk,format=raw" </dev/null >"$work/log" 2>"$work/err"
status=$?
check "the run ends by the second system's power-off" test $status = 0
check "the second kernel was loaded" grep -q "the second kernel is loaded" "$work/log"
check "the second kernel has run" grep -q "the second kernel runs on 1 processor" "$work/log"
check "it has written the dump" grep -q "the dump is written" "$work/log"
check "the dump is an ELF core file" eval 'readelf -h "$work/disk" | grep -q "CORE (Core file)"'
check "it has a note for each processor and the kernel's" eval 'readelf --notes "$work/disk" 2>/dev/null | tee "$work/notes" |
	grep -q VMCOREINFO && [ "$(grep -c NT_PRSTATUS "$work/notes")" = "$cpus" ]'
if [[ -n ${VMLINUX-} ]] && command -v crash >/dev/null; then
	echo -e 'bt\nquit' >"$work/commands"
	check "crash reads it and says why" eval 'crash -s -i "$work/commands" "$VMLINUX" "$work/disk" >"$work/crash" 2>&1;
		grep -q "sysrq_handle_crash" "$work/crash"'
else
	echo "# SKIP crash: set VMLINUX, and install the package crash"
fi
echo "1..$number"
((failures == 0))
