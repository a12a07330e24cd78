#!/bin/bash
# Debian's stress-ng with --verify in a guest, on demand: not part of test.sh. Installs it where it is missing.
# Speaks TAP: a test for each stressor.
#
# usage: stress-ng.sh VENEER SOURCE-DIR [ENGINE [CPUS [SECONDS [STRESSOR...]]]]
#
# Each STRESSOR runs for SECONDS (3) with as many instances as the guest has CPUS (2). Without STRESSORs: those that
# ask something of the processor, memory management, or the kernel's ways in and out.
set -u
export LC_ALL=C

(($# >= 2)) || { echo "usage: $0 VENEER SOURCE-DIR [ENGINE [CPUS [SECONDS [STRESSOR...]]]]" >&2; exit 2; }
veneer=$1
source=$2
engine=${3:-auto}
cpus=${4:-2}
seconds=${5:-3}
shift $(($# < 5 ? $# : 5))
(($#)) || set -- atomic branch bsearch context cpu crypt fp fp-error funccall funcret goto hash heapsort hsearch icache \
	judy list longjmp lsearch matrix matrix-3d mergesort nop opcode plugin prefetch qsort radixsort regs rotate rseq \
	shellsort skiplist sparsematrix str stream syncload tree tsc tsearch vecfp vecmath vecshuf vecwide wcs x86cpuid \
	x86syscall zlib lockbus mcontend membarrier memcpy memfd memrate misaligned \
	mmap mmapaddr mmapfixed mmapfork mmaphuge mmapmany madvise mprotect mremap msync munmap pageswap remap \
	resources shm stack stackmmap tlb-shootdown tmpfs vm vm-addr vm-rw vm-splice \
	bad-altstack clone daemon exec exit-group fork futex getrandom kill null pipe pthread \
	sem sem-sysv sigabrt sigchld sigfd sigfpe sigio signal signest sigpending sigpipe sigq sigrt sigsegv sigsuspend \
	sigtrap spawn switch syscall sysinfo timer timerfd userfaultfd usersyscall vdso vfork wait yield zombie

"$source/scripts/install-packages.sh" stress-ng || exit 2
program=$(command -v stress-ng) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

cat >"$work/init" <<END
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm /tmp /run
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
dmesg -n 1
cd /tmp
for stressor in $*; do
	timeout -s KILL $((seconds + 120)) stress-ng --\$stressor $cpus --timeout $seconds --verify --oomable >/tmp/log 2>&1
	echo "stressor \$stressor \$?"
	grep -E 'fail|error|skip' /tmp/log | head -n 5
done
echo "complaints \$(dmesg | grep -c -i -E 'BUG:|Oops|lockup|rcu:.*stall')"
poweroff -f
END
files=(--file "$program:/bin/stress-ng")
while read -r library; do
	files+=(--file "$library:$library")
done < <(ldd "$program" | grep -o '/[^ ]*')
"$source/guests/make-initramfs.sh" "$work/initramfs" --init "$work/init" "${files[@]}" || exit 2

number=0
failures=0
result()	# STATUS NAME
{
	number=$((number + 1))
	if (($1 == 0)); then
		echo "ok $number - $2"
	else
		failures=$((failures + 1))
		echo "not ok $number - $2"
	fi
}

ended=1
# A stressor that a kernel or processor lacks is skipped: 3, 4 and 5 say so (stress-ng(1), EXIT STATUS).
while IFS=$' \r' read -r word name status rest; do
	case $word in
	stressor)
		case $status in
		3 | 4 | 5) echo "ok $((number += 1)) - $name # SKIP exit status $status" ;;
		*) result "$status" "$name, exit status $status" ;;
		esac
		;;
	complaints)
		[[ $name == 0 ]]
		result $? "the guest's kernel has nothing to complain about"
		ended=0
		;;
	stress-ng:) echo "# $word $name $status $rest" ;;
	esac
done < <(timeout -k 5 $(($# * (seconds + 30) + 60)) "$veneer" run --kernel "$source/.cache/guest/vmlinuz" \
	--initrd "$work/initramfs" --cpus "$cpus" --memory 1G --engine "$engine" --no-reboot \
	--append "console=ttyS0 quiet panic=-1 mitigations=off" </dev/null 2>&1 | tee "$work/log")
result $ended "the guest ran to its end"
((ended)) && tail -n 30 "$work/log" | tr -d '\r' | sed 's/^/# /'
echo "1..$number"
((failures == 0))
