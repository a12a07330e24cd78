#!/bin/bash
# Install what that needs, build everything and run every test. The last line is "N passed, N failed"; the exit status is 0 only
# where none failed.
#
#   ./test.sh [STAGE...]
#
# Without arguments all stages run, in this order (20 to 30 minutes on two cores):
#
#   format     every C file is laid out as .clang-format says
#   unit       unit tests, and the host's processor as oracle of each engine (fixed seed)
#   cli        the command line, bad input, the terminal, the control socket, gdb
#   kernels    our own guest kernels under each engine, and accesses to where the monitor has its memory
#   boot       Debian's kernel: with 1, 2 and 4 processors translated, with 2 interpreted
#   virtio     disks, ports and networks under Debian's own drivers, translated and interpreted, with 1, 2 and 4
#              processors, and with both of Debian's kernels; what was durable is there after kills
#   image      a whole Debian: made by veneer image, booted from its disk, used, shut down
#   soak       a long mixed load in a translated guest, compared with the host
#   demo       ./demo.sh
#   sanitize   unit tests, guest kernels and a boot under AddressSanitizer and UBSan
#   thread     unit tests of threads, multiprocessor guest kernels and a boot under ThreadSanitizer
#   fuzz       each libFuzzer target for FUZZ_SECONDS (default 4)
#
# Whether the tests would notice a mistake is asked on demand: tests/mutations/run.py makes some hundred
# small wrong changes to a copy of the source, one at a time, and names those that no test sees (an hour
# or two). A new kind of mistake that some test should see is an entry there.
#
# So is an image like those for clouds, with cloud-init: tests/image/cloud.py makes it, which takes minutes, and boots it
# twice; and more kills (tests/virtio/data-safety.py --rounds 1000) and combinations of kernel, engine and processors
# (tests/virtio/virtio.sh).
#
# Builds are in build/ (what demo.sh uses), build-sanitize/ and build-thread/; each stage's full output
# is in build/test-logs/.
set -u
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$here/build
sanitize=$here/build-sanitize
thread=$here/build-thread
logs=$build/test-logs
fuzz_seconds=${FUZZ_SECONDS:-4}
passed=0
failed=0

stages=(format unit cli kernels boot virtio image soak demo sanitize thread fuzz)
(($#)) || set -- "${stages[@]}"
for stage; do
	[[ " ${stages[*]} " == *" $stage "* ]] || {
		echo "test.sh: no stage '$stage'; there are: ${stages[*]}" >&2
		exit 2
	}
done
wanted=" $* "

"$here/scripts/install-packages.sh" gcc libc6-dev binutils meson ninja-build pkg-config python3 seabios grub-pc-bin grub-common syslinux-common memtest86+ ipxe-qemu \
	ovmf grub-efi-amd64-bin mtools dosfstools fdisk cpio \
	libzydis-dev libjansson-dev libslirp-dev liburing-dev libnbd-dev libpng-dev libvncserver-dev libcmocka-dev libext2fs-dev mmdebstrap e2fsprogs btrfs-progs uidmap openssh-client qemu-utils qemu-system-common nbdkit clang clang-format libclang-rt-dev llvm acpica-tools xorriso man-db groff gdb || exit 1

# --- counting ---

exec 3>&1 # what failed is said on standard output, too

begun=()
groups=()

# tally KIND NAME FILE STATUS SECONDS [USED]: adds what tests/tally.py counts; the time it took, and that of
# processors
tally()
{
	local good bad

	read -r good bad < <("$here/tests/tally.py" "$1" "$3" "$4" 2>&3)
	: "${good:=0}" "${bad:=1}"
	passed=$((passed + good))
	failed=$((failed + bad))
	printf '  %-34s %5d passed %3d failed  %4d s' "$2" "$good" "$bad" "$5"
	[[ -z ${6-} ]] || printf '  %4d s used' "$6"
	echo
}

# begin KIND NAME COMMAND...: starts a test, when fewer run than there are processors: a program that writes
# TAP (tap), or a command that is one test by itself (one). Most of them wait half of their time. gather waits
# for all, and counts them in the order in which they began.
begin()
{
	local kind=$1 name=$2 log=$logs/${2// /-}.log

	shift 2
	while (($(jobs -rp | wc -l) >= $(nproc))); do
		wait -n
	done
	begun+=("$kind $name")
	rm -f "$log.end"
	set -m # a process group, which can be ended
	{
		start=$SECONDS
		"$@" >"$log" 2>"$log.err" </dev/null
		status=$?
		times >"$log.times"
		echo "$status $((SECONDS - start)) $(processor_seconds <"$log.times")" >"$log.end"
	} &
	set +m
	groups+=("-$!")
}

trap 'kill -- "${groups[@]}" 2>/dev/null; exit 130' INT TERM

# What children have used, in what times has said.
processor_seconds()
{
	tr 'ms' '  ' | awk 'NR == 2 { printf "%d", $1 * 60 + $2 + $3 * 60 + $4 + 0.5 }'
}

gather()
{
	local each name log status seconds used

	wait
	for each in "${begun[@]}"; do
		name=${each#* }
		log=$logs/${name// /-}.log
		status=1 seconds=0 used=0
		read -r status seconds used <"$log.end"
		if [[ $each == tap* ]]; then
			tally tap "$name" "$log" "$status" "$seconds" "$used"
		elif ((status == 0)); then
			passed=$((passed + 1))
			printf '  %-57s %4d s  %4d s used\n' "$name" "$seconds" "$used"
		else
			failed=$((failed + 1))
			echo "  FAILED $name: exit status $status; the end of $log:"
			cat "$log" "$log.err" | tail -n 15 | sed 's/^/    /'
		fi
	done
	begun=()
	groups=()
}

# tap NAME COMMAND...: a program that writes TAP, alone
tap()
{
	begin tap "$@"
	gather
}

# unit NAME BUILD ARGUMENTS...: meson's tests
unit()
{
	local name=$1 directory=$2 start=$SECONDS status

	shift 2
	meson test -C "$directory" --no-rebuild "$@" >"$logs/${name// /-}.log" 2>&1
	status=$?
	tally meson "$name" "$directory/meson-logs/testlog.json" $status $((SECONDS - start))
}

# step NAME COMMAND...: what tests need first. It counts only where it fails.
step()
{
	local name=$1 log=$logs/${1// /-}.log start=$SECONDS status

	shift
	"$@" >"$log" 2>&1 </dev/null
	status=$?
	if ((status == 0)); then
		printf '  %-57s %4d s\n' "$name" $((SECONDS - start))
		return 0
	fi
	failed=$((failed + 1))
	echo "  FAILED $name: exit status $status; the end of $log:"
	tail -n 15 "$log" | sed 's/^/    /'
	return 1
}

# one NAME COMMAND...: a command that is one test by itself
one()
{
	step "$@" && passed=$((passed + 1))
}

stage()
{
	[[ $wanted == *" $1 "* ]] || return 1
	echo "== $1"
}

# --- building ---

# compile NAME DIRECTORY MESON-OPTIONS...: configures where that has not been done with these options, and
# builds $TARGETS, or everything
compile()
{
	local name=$1 directory=$2

	shift 2
	if [[ ! -e $directory/build.ninja ]] ||
		{ (($#)) && [[ $* != "$(cat "$directory/options" 2>/dev/null)" ]]; }; then
		rm -rf "$directory"
		step "configure $name" meson setup "$directory" "$here" "$@" || return
		echo "$*" >"$directory/options"
	fi
	# shellcheck disable=SC2086 # a list
	step "build $name" ninja -C "$directory" ${TARGETS-}
}

finish()
{
	echo
	echo "$passed passed, $failed failed"
	((failed == 0))
	exit
}

mkdir -p "$build"
echo "== build"
if [[ ! -e $build/build.ninja ]]; then
	meson setup --buildtype=release "$build" "$here" >"$build/setup.log" 2>&1 ||
		{ cat "$build/setup.log"; failed=1; finish; }
fi
mkdir -p "$logs"
compile release "$build" || finish
veneer=$build/veneer
[[ $wanted == " unit " ]] || step "fetch Debian's kernel" "$here/guests/fetch-debian.sh" || finish

# --- the stages ---

# The status that run-kernels.sh is to expect of a triple fault.
export TRIPLE_FAULT_STATUS=6
export TIMEOUT_SCALE=3

if stage format; then
	one "C files are formatted" "$here/scripts/format.sh" --check
	one "mutations fit the source" "$here/tests/mutations/run.py" --check
fi

if stage unit; then
	unit "unit tests" "$build"
fi

if stage cli; then
	begin tap "command line" "$here/tests/cli/cli.sh" "$veneer" "$build" "$here"
	begin tap "firmware" "$here/tests/firmware/firmware.sh" "$veneer" "$build" \
		"$("$here/guests/fetch-debian.sh" 2>/dev/null | head -n 1)"
	begin tap "OVMF" "$here/tests/firmware/efi.sh" "$veneer" "$here/.cache/guest/vmlinuz" "$here/.cache/guest/busybox"
	begin tap "random boot sectors" "$here/tests/firmware/random-sectors.py" "$veneer" 12
	begin tap "memtest86+" "$here/tests/firmware/memtest.py" "$veneer"
	begin tap "terminal" "$here/tests/cli/terminal.py" "$veneer" "$build"
	begin tap "control socket" "$here/tests/cli/control.py" "$veneer" "$build"
	begin tap "gdb" "$here/tests/debug/debug.py" "$veneer" "$build" "$here" bt interp
	gather
fi

if stage kernels; then
	for engine in interp bt; do
		begin tap "guest kernels $engine" "$here/tests/guest/run-kernels.sh" "$veneer" "$build" $engine
	done
	# Every check translated at its first run, with all that is done in loops; and as on hosts that lack what the translator likes.
	RUN_OPTIONS="--bt-test hot,predict" begin tap "guest kernels bt hot" \
		"$here/tests/guest/run-kernels.sh" "$veneer" "$build" bt
	RUN_OPTIONS="--shadow=traced --bt-test hot" begin tap "guest kernels bt traced" \
		"$here/tests/guest/run-kernels.sh" "$veneer" "$build" bt \
		traced traced-smp tlb64 hotremap pagefault64 multicpu hotsmc
	for without in no-bmi2 no-fsgsbase no-avx no-avx512 no-homes no-room; do
		RUN_OPTIONS="--bt-test $without" begin tap "guest kernels bt $without" \
			"$here/tests/guest/run-kernels.sh" "$veneer" "$build" bt \
			hotcode anytime drift wild shadow hotedge segments64 fpu
	done
	begin tap "monitor memory" "$here/tests/guest/monitor-memory.py" "$veneer" "$build" bt
	gather
fi

if stage boot; then
	begin tap "Debian boots bt" "$here/tests/boot/boot.sh" "$veneer" "$build" "$here" bt
	CPU_MODEL=x86-64-v2 begin tap "Debian boots on x86-64-v2" "$here/tests/boot/short.sh" "$veneer" "$here" bt 1
	RUN_OPTIONS=--shadow=traced begin tap "Debian boots with page tables traced" \
		"$here/tests/boot/short.sh" "$veneer" "$here" bt 2
	ADDRESS_SPACE=4000000 begin tap "Debian boots without windows" "$here/tests/boot/short.sh" "$veneer" "$here" bt 2
	# Of 32 bits: kernels without and with PAE, and programs on a kernel of 64.
	for i386 in i386 i386-pae; do
		step "fetch Debian's $i386 kernel" "$here/guests/fetch-debian.sh" --$i386 &&
			GUEST=$here/.cache/guest-$i386 begin tap "Debian $i386 boots bt" \
				"$here/tests/boot/short.sh" "$veneer" "$here" bt 1 2
	done
	PROGRAMS=$here/.cache/guest-i386 begin tap "i386 programs on amd64" "$here/tests/boot/short.sh" "$veneer" "$here" bt 2
	begin tap "Debian on a screen" "$here/tests/display/display.py" "$veneer" "$here"
	begin tap "Debian boots interp" "$here/tests/boot/boot.sh" "$veneer" "$build" "$here" interp 2
	gather
fi

if stage virtio; then
	for engine in bt interp; do
		PARTS=devices begin tap "virtio $engine" "$here/tests/virtio/virtio.sh" "$veneer" "$build" "$here" $engine 1 4
	done
	step "fetch Debian's full kernel" "$here/guests/fetch-debian.sh" --full &&
		GUEST=$here/.cache/guest-full PARTS=devices begin tap "virtio, Debian's full kernel" \
			"$here/tests/virtio/virtio.sh" "$veneer" "$build" "$here" bt 2
	begin tap "watchdog and panic" "$here/tests/incident/incident.py" "$veneer" "$here" "$here/.cache/guest-full" bt
	begin tap "firmware boots from old controllers" "$here/tests/storage/boot.sh" "$veneer" "$here" bt interp
	begin tap "Debian sleeps and wakes" "$here/tests/sleep/sleep.sh" "$veneer" "$here" bt 2
	begin tap "old disk controllers" "$here/tests/storage/storage.sh" "$veneer" "$build" "$here" bt 2
	begin tap "shared directories" "$here/tests/share/share.sh" "$veneer" "$build" "$here" bt
	PARTS=two begin tap "virtio, two machines" "$here/tests/virtio/virtio.sh" "$veneer" "$build" "$here" bt 2
	begin tap "virtio networks bt" "$here/tests/virtio/network.py" "$veneer" "$build" "$here" bt
	begin tap "virtio networks interp" "$here/tests/virtio/network.py" "$veneer" "$build" "$here" interp --part user --part switch --user-mib 4 --switch-mib 4
	begin tap "devices come and go" "$here/tests/virtio/plug.py" "$veneer" "$build" "$here" bt
	begin tap "virtio, killed with its disk" "$here/tests/virtio/data-safety.py" "$veneer" "$build" "$here" bt --rounds 3
	gather
fi

if stage image; then
	begin tap "image" "$here/tests/image/image.py" "$veneer" "$here/.cache/image"
fi

if stage soak; then
	begin tap "soak" "$here/tests/boot/soak.sh" "$veneer" "$build" "$here" bt
fi

if stage demo; then
	begin tap "demo" "$here/tests/boot/demo.sh" "$here"
fi
gather

sanitize_options=(-Db_sanitize=address,undefined -Db_lundef=false -Dfuzzers=true -Doptimization=1)

if stage sanitize && CC=clang compile sanitize "$sanitize" "${sanitize_options[@]}"; then
	export ASAN_OPTIONS=abort_on_error=0:exitcode=99 UBSAN_OPTIONS=halt_on_error=1:exitcode=99:print_stacktrace=1
	unit "sanitized unit tests" "$sanitize" --suite unit --timeout-multiplier 4
	# AddressSanitizer has the addresses that translated code needs.
	begin tap "sanitized guest kernels" "$here/tests/guest/run-kernels.sh" "$sanitize/veneer" "$build" interp
	begin tap "sanitized Debian boot" "$here/tests/boot/short.sh" "$sanitize/veneer" "$here" interp 1
	begin tap "sanitized command line" "$here/tests/cli/cli.sh" "$sanitize/veneer" "$build" "$here"
	gather
	unset ASAN_OPTIONS UBSAN_OPTIONS
fi

# Interpreted: ThreadSanitizer keeps signals back, which translated code needs to be interrupted.
# Without ThreadSanitizer's own call stack: it loses count where a guest's exception leaves a handler by
# longjmp(), overflows, and takes the process with it. Reports then name a place without its callers.
threaded=(disk_overlay disk_raw worker)
if stage thread && TARGETS="veneer ${threaded[*]/#/tests/unit/test_}" CC=clang compile thread "$thread" -Db_sanitize=thread -Db_lundef=false \
	"-Dc_args=-mllvm -tsan-instrument-func-entry-exit=0"; then
	export TSAN_OPTIONS=halt_on_error=1:exitcode=99
	for name in "${threaded[@]}"; do
		begin tap "thread-sanitized $name" env CMOCKA_MESSAGE_OUTPUT=TAP "$thread/tests/unit/test_$name"
	done
	begin tap "thread-sanitized guest kernels" "$here/tests/guest/run-kernels.sh" "$thread/veneer" \
		"$build" interp locked multicpu
	begin tap "thread-sanitized Debian boot" "$here/tests/boot/short.sh" "$thread/veneer" "$here" interp 2
	gather
	unset TSAN_OPTIONS
fi

if stage fuzz && CC=clang compile sanitize "$sanitize" "${sanitize_options[@]}"; then
	for corpus in "$here"/tests/fuzz/corpus/*/; do
		target=$(basename "$corpus")
		# New inputs go to the first directory; seeds are only read.
		mkdir -p "$sanitize/corpus/$target"
		begin one "fuzz $target" "$sanitize/tests/fuzz/fuzz_$target" -close_fd_mask=2 -max_len=4096 \
			-rss_limit_mb=1024 -artifact_prefix="$logs/" \
			-max_total_time="$fuzz_seconds" "$sanitize/corpus/$target" "$corpus"
	done
	gather
fi

finish
