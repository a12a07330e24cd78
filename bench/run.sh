#!/bin/bash
# Run the benchmarks and print their table. See README.md beside this file.
#
#   bench/run.sh [OPTION]...
#   bench/run.sh real [OPTION]...       real programs; see bench/run.sh real --help
#   bench/run.sh firmware [VENEER]      SeaBIOS and GRUB; see bench/firmware.py
#   bench/run.sh screen [VENEER]        a text screen that scrolls; see bench/screen.py
#   bench/run.sh io [OPTION]...         disks and networks; see bench/run.sh io --help
#   bench/run.sh share [OPTION]...      shared directories; see bench/run.sh share --help
#
#   --engine NAME[,NAME]   veneer's engines to measure (bt)
#   --veneer [NAME=]FILE   a veneer to measure, instead of building this project's; several, with
#                          commas or by more --veneer, are compared in one run
#   --only NAME[,NAME]     only these: the groups int, call, fp and os, single programs such as
#                          int-sieve, and boot, start and memory
#   --runs N               how often to run each thing (3); the table has the medians
#   --bochs-runs N         the same for Bochs, which is slow (1)
#   --percent N            do N percent of each program's usual work, in every column (100)
#   --no-bochs, --no-qemu  leave that machine out
#   --out FILE             write the table there as well
#
# What is missing of the peers is installed from Debian's packages; a machine that cannot take
# part is "n/a" in the table, with the reason below it.

# shellcheck disable=SC2034 # some variables are for vmm.sh

bench=$(cd "$(dirname "$0")" && pwd)
[[ ${1:-} != real ]] || exec "$bench/real.sh" "${@:2}"
[[ ${1:-} != firmware ]] || exec "$bench/firmware.py" "${@:2}"
[[ ${1:-} != screen ]] || exec "$bench/screen.py" "${@:2}"
[[ ${1:-} != io ]] || exec "$bench/io.py" "${@:2}"
[[ ${1:-} != share ]] || exec "$bench/share.py" "${@:2}"
# shellcheck source=bench/common.sh
. "$bench/common.sh"

memory=512 # of each guest, MiB
guest_processors="1 processor"

# A guest that prints nothing for so many seconds hangs.
readonly silence=600
readonly start_runs=15

only=int,call,fp,os,boot,start,memory
bochs_runs=1
peers='qemu bochs'

while (($#)); do
	case $1 in
	--engine | --veneer | --only | --runs | --bochs-runs | --percent | --out)
		(($# > 1)) || die "$1 needs an argument"
		;;&
	--engine) engines=$(names "$1" "$2") ;;
	--veneer) add_veneers "$2" ;;
	--only) only=$(names "$1" "$2") ;;
	--runs) runs=$(number "$1" "$2") ;;
	--bochs-runs) bochs_runs=$(number "$1" "$2") ;;
	--percent) percent=$(number "$1" "$2") ;;
	--out) out=$2 ;;
	--no-bochs) peers=${peers/bochs/} && shift && continue ;;
	--no-qemu) peers=${peers/qemu/} && shift && continue ;;
	-h | --help)
		sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
		exit
		;;
	*) die "unknown option $1; see --help" ;;
	esac
	shift 2
done

wanted()
{
	[[ ,$only, == *,"$1",* ]]
}

# What is left of --only when the system's rows are taken away: the groups and programs.
programs=$(tr , '\n' <<<"$only" | grep -Evx 'boot|start|memory|' | paste -sd ,) || true

# The programs are static, so that the guest needs no C library, and for any x86-64. The compiler
# makes no vector instructions of its own: which programs use them is their own business.
build_suite()
{
	local cc=${CC:-cc} source name files=()

	mkdir -p "$work/programs"
	rm -f "$work"/programs/*
	for source in "$bench"/programs/*.c; do
		name=$(basename "$source" .c)
		"$cc" -std=gnu17 -O2 -march=x86-64 -fno-tree-vectorize -static -s \
			-o "$work/programs/$name" "$source"
		files+=(--file "$work/programs/$name:/bench/$name")
	done
	"$cc" -m32 -nostdlib -static -Wl,-n,-Ttext=0x100000,--build-id=none \
		-o "$work/first-instruction" "$bench/first-instruction.S"

	"$project/guests/make-initramfs.sh" "$work/suite.cpio" --busybox "$busybox" \
		--init "$bench/init" "${files[@]}"
	"$project/guests/make-initramfs.sh" "$work/boot.cpio" --busybox "$busybox" \
		--init "$bench/init"
}

# boot_guest COLUMN INITRD WORD...: boot it with WORDs on the kernel's command line; the
# stamped log is left in $log. Fails, and records why, unless the guest reached its end.
boot_guest()
{
	local column=$1 initrd=$2 options=()

	shift 2
	log=$work/$column-$(basename "$initrd" .cpio).log
	vmm_command "$column" "$kernel" "$initrd" "$arguments $*"
	[[ -z $fifo ]] || options=(-f "$fifo")
	"$work/stamp" -t $silence "${options[@]}" "${command[@]}" >"$log" 2>"${log%.log}.err"
	grep -q 'bench done' "$log" && return
	record missing "$column" \
		"did not finish ($(tail -n 1 "$log" | cut -f 4)), see ${log#"$project/"} and .err"
	return 1
}

measure_native()
{
	local run program pattern processor

	say "native"
	processor=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status)
	for ((run = 0; run < runs; run++)); do
		for pattern in ${programs//,/ }; do
			for program in "$work"/programs/"$pattern"*; do
				[[ -x $program ]] || die "--only: no program begins with $pattern"
				# One processor, as the guests have.
				read -r name sum seconds < <(taskset -c "$processor" \
					"$program" -n "$percent")
				record suite native "$name" "$sum" "$seconds" "$seconds"
			done
		done
	done
}

measure_suite()
{
	local column=$1 times=$runs

	[[ $column != bochs ]] || times=$bochs_runs
	say "$column: the programs"
	boot_guest "$column" "$work/suite.cpio" BENCH_MODE=suite \
		"BENCH_RUNS=$times" "BENCH_PERCENT=$percent" "BENCH_PROGRAMS=$programs" || true
	parse_rows "$column" "$log"
}

measure_boot()
{
	local column=$1

	say "$column: boot"
	boot_guest "$column" "$work/boot.cpio" BENCH_MODE=boot || return 0
	awk -F '\t' -v OFS='\t' -v column="$column" '
		/bench user space/ { print "system", column, "user", $1 }
		/Loading .initrd.*ok/ { print "system", column, "start", $2 }
		$1 == "total" {
			print "system", column, "off", $2
			print "system", column, "cpu", $3
		}
	' "$log" >>"$raw"
}

measure_start()
{
	local column=$1 run wall status

	vmm_start_command "$column" "$work/first-instruction" || return 0
	say "$column: start"
	for ((run = 0; run < start_runs; run++)); do
		IFS=$'\t' read -r _ wall _ status < <("$work/stamp" -t 10 "${command[@]}" \
			2>"$work/$column.err" | tail -n 1)
		if [[ $status != "exit 3" ]]; then
			record missing "$column" \
				"first-instruction ended with $status, expected exit 3"
			return
		fi
		record system "$column" start "$wall"
	done
}

# A process's resident memory in KiB, page tables included, without the guest's RAM.
memory_beyond_ram()
{
	awk '
		/^[0-9a-f]+-[0-9a-f]+ / { ram = $6 ~ /^\/memfd:(veneer-ram|memory-backend-memfd)/ }
		/^Rss:/ { if (ram) seen = 1; else size += $2 }
		/^VmPTE:/ { size += $2 }
		END { if (seen) print size }
	' "/proc/$1/smaps" "/proc/$1/status" 2>/dev/null
}

# The largest value while the guest boots and does some of everything.
measure_memory()
{
	local column=$1 child size largest=0 deadline=$((SECONDS + 10 * silence))

	[[ $column != bochs ]] || return 0 # its guest RAM cannot be told from the rest
	say "$column: memory"
	vmm_command "$column" "$kernel" "$work/suite.cpio" "$arguments BENCH_MODE=hold"
	: >"$work/hold.log"
	"${command[@]}" </dev/null >"$work/hold.log" 2>"$work/$column.err" &
	child=$!
	while kill -0 $child 2>/dev/null && ((SECONDS < deadline)); do
		size=$(memory_beyond_ram $child) || true
		((${size:-0} <= largest)) || largest=$size
		! grep -q 'bench holding' "$work/hold.log" || break
		sleep 0.2
	done
	kill $child 2>/dev/null || true
	wait $child 2>/dev/null || true
	if grep -q 'bench holding' "$work/hold.log"; then
		record system "$column" memory "$largest"
	else
		record missing "$column" "memory: the guest did not come as far as 'bench holding'"
	fi
}

begin
build_stamp
columns=(native)
add_veneer_columns
for name in $peers; do
	columns+=("$name")
done
build_suite
describe
record note "runs: $runs (Bochs: $bochs_runs); work: $percent% of the usual"
record group int integer
record group call "calls, dispatch"
record group fp "floating point, SIMD"
record group os "operating system"

# Every machine with native, then every peer with each of veneer's engines.
for column in "${columns[@]:1}"; do
	record pair "$column" native
done
for column in "${columns[@]:1}"; do
	for name in $peers; do
		[[ $column != veneer-* ]] || record pair "$name" "$column"
	done
done

# Native runs are short and a busy second spoils them all: do some before each machine.
for column in "${present[@]:1}"; do
	if [[ -n $programs ]]; then
		measure_native
		measure_suite "$column"
	fi
	! wanted start || measure_start "$column"
	! wanted memory || measure_memory "$column"
done
[[ -z $programs ]] || measure_native
if wanted boot; then
	# In turn, so that a busy minute of this machine hits them all.
	for ((run = 0; run < runs; run++)); do
		for column in "${present[@]:1}"; do
			if [[ $column != bochs ]] || ((run < bochs_runs)); then
				measure_boot "$column"
			fi
		done
	done
fi

awk -f "$bench/report.awk" "$raw" | tee ${out:+"$out"}
