#!/bin/bash
# Run real programs natively, in a guest of veneer and in one of QEMU, and print their table. See
# README.md beside this file.
#
#   bench/run.sh real [OPTION]...
#
#   --veneer [NAME=]FILE   a veneer to measure, instead of building this project's; several, with
#                          commas or by more --veneer, are compared in one run
#   --engine NAME[,NAME]   veneer's engines to measure (bt)
#   --only ROW[,ROW]       only these rows, files of bench/real/rows
#   --runs N               how often to run each row (1), in a new guest each time; the table has
#                          the medians
#   --percent N            do N percent of each row's usual work, in every column (100)
#   --cpus N               give the guests N processors, and the native programs as many; a row
#                          that asks for more gets those
#   --no-qemu              leave QEMU out
#   --separate             a guest for each row, rather than all rows in one
#   --stats                count in veneer what each row does; implies --separate
#   --processor-time       show processor time, of all processors; on a busy machine it says more
#   --out FILE             write the table there as well

bench=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/common.sh
. "$bench/common.sh"

raw=$work/real.tsv
logs=$work/real
debian=$work/debian
memory=6144
# On a busy machine a guest may get no processor for long, and must not complain of it in the
# middle of a result.
readonly more_arguments='rdinit=/bench/init nosoftlockup'
# A row prints nothing while it works.
readonly silence=3600
# The counters of `veneer run --stats` that --stats shows.
readonly counters='units made,cache flushes,blocks decoded,exits: jump table,page faults'

runs=1
only=
least_cpus=1
separate=
stats=
show=seconds
peers=qemu

while (($#)); do
	case $1 in
	--engine | --veneer | --only | --runs | --percent | --cpus | --out)
		(($# > 1)) || die "$1 needs an argument"
		;;&
	--engine) engines=$(names "$1" "$2") ;;
	--veneer) add_veneers "$2" ;;
	--only) only=$(names "$1" "$2") ;;
	--runs) runs=$(number "$1" "$2") ;;
	--percent) percent=$(number "$1" "$2") ;;
	--cpus) least_cpus=$(number "$1" "$2") ;;
	--out) out=$2 ;;
	--no-qemu) peers= && shift && continue ;;
	--separate) separate=1 && shift && continue ;;
	--processor-time) show=cpu && shift && continue ;;
	--stats) separate=1 stats=1 && shift && continue ;;
	-h | --help)
		sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
		exit
		;;
	*) die "unknown option $1; see --help" ;;
	esac
	shift 2
done

# Print the rows wanted, one a line.
list_rows()
{
	local row

	if [[ -z $only ]]; then
		(cd "$bench/real/rows" && printf '%s\n' *.sh) | sed 's/\.sh$//'
		return
	fi
	for row in ${only//,/ }; do
		[[ -f $bench/real/rows/$row.sh ]] || die "--only $row: no such file in $bench/real/rows"
		echo "$row"
	done
}

# How many processors a row gets: a line "# cpus: N" in it asks for at least so many.
row_cpus()
{
	local asked

	asked=$(sed -n 's/^# cpus: //p' "$bench/real/rows/$1.sh")
	echo $((${asked:-1} > least_cpus ? asked : least_cpus))
}

# The tree's /bench: what runs the rows, the rows, and this project's sources for them to
# compile. It is appended to the tree's archive; the kernel unpacks one after the other.
build_archive()
{
	local files=$work/real-files archive=$work/real.cpio size

	"$bench/real/make-tree.sh" "$debian"
	rm -rf "$files"
	mkdir -p "$files"
	cp -R "$bench/real"/* "$bench/programs" "$busybox" "$files/"
	(cd "$project" && find src -name '*.[ch]' -exec cp --parents -t "$files" {} +)
	mkdir "$files/build"
	in_tree 1 /bench/build-rows | tar -x -C "$files/build"

	size=$(stat -c %s "$debian/tree.cpio")
	if [[ $archive -nt $debian/tree.cpio ]]; then
		truncate -s "$size" "$archive" # the part that costs time is there already
	else
		cp "$debian/tree.cpio" "$archive.new"
		mv "$archive.new" "$archive"
	fi
	in_tree 1 /bin/sh -c 'cd / && find bench | sort | cpio --quiet -o -H newc' >"$logs/rows.cpio"
	cat "$logs/rows.cpio" >>"$archive"
	touch "$archive"
}

# in_tree CPUS COMMAND [ARGUMENT]...: run it on so many of this machine's processors.
in_tree()
{
	native_command "$@"
	"${command[@]}"
}

# Print the first N of the processors that this process may use.
own_processors()
{
	local range list

	list=$(sed -n 's/^Cpus_allowed_list:[^0-9]*//p' /proc/self/status)
	for range in ${list//,/ }; do
		seq "${range%-*}" "${range#*-}"
	done | awk -v most="$1" 'NR <= most' | paste -sd ,
}

native_command()
{
	local processors

	processors=$(own_processors "$1")
	shift
	command=("${sudo[@]}" taskset -c "$processors" unshare --mount --pid --net --fork
		--kill-child -- "$bench/real/enter" "$debian/tree" "$work/real-files" "$@")
}

# measure COLUMN CPUS [ROW]...
measure()
{
	local column=$1 log=$logs/$1-$2${3:+-$3}.log

	cpus=$2
	shift 2
	say "$column, run $run of $runs: $*"
	if [[ $column == native ]]; then
		native_command "$cpus" /bench/run-rows "$percent" "$@"
	else
		vmm_command "$column" "$kernel" "$work/real.cpio" \
			"$arguments $more_arguments BENCH_PERCENT=$percent BENCH_ROWS=$(IFS=, && echo "$*")"
		[[ $column != veneer-* || -z $stats ]] || command+=(--stats)
	fi
	"$work/stamp" -t $silence "${command[@]}" >"$log" 2>"${log%.log}.err"
	grep -q 'bench done' "$log" || record missing "$column" \
		"did not finish ($(tail -n 1 "$log" | cut -f 4)), see ${log#"$project/"} and .err"
	parse_rows "$column" "$log"
	if [[ $column == veneer-* && -n $stats ]]; then
		awk -F '  +' -v OFS='\t' -v column="$column" -v row="${1:-idle}" '
			{ sub(/^ +/, "") }
			NF >= 2 { print "count", column, row, $1, $2 + 0 }
		' "${log%.log}.err" >>"$raw"
	fi
}

list=$(list_rows)
mapfile -t rows <<<"$list"
declare -A group=()
for row in "${rows[@]}"; do
	group[$(row_cpus "$row")]+=" $row"
done

begin
mkdir -p "$logs"
rm -f "$logs"/*
build_stamp
columns=(native)
add_veneer_columns
for column in $peers; do
	columns+=("$column")
done
build_archive
guest_processors="processors: $(printf '%s\n' "${!group[@]}" | sort -n | paste -sd ' ')"
describe
record note "tree: Debian $(cat "$debian/tree/etc/debian_version") of this machine's archives"
record note "runs: $runs; work: $percent% of the usual"
record group "" "real programs"
record show "$show"

# Each machine with native, veneer with QEMU, a veneer with the first.
for column in "${columns[@]:1}"; do
	record pair "$column" native
done
for column in "${columns[@]:1}"; do
	[[ $column == qemu || -z $peers ]] || record pair "$column" qemu
done
for column in "${columns[@]:2}"; do
	[[ $column == qemu ]] || record pair "$column" "${columns[1]}"
done
if [[ -n $stats ]]; then
	record counters "$counters"
fi

# In turn, so that a busy minute of this machine hits them all.
for ((run = 1; run <= runs; run++)); do
	for column in "${present[@]}"; do
		[[ -z $stats || $column != veneer-* ]] || measure "$column" "$least_cpus"
		for count in "${!group[@]}"; do
			read -r -a some <<<"${group[$count]}"
			if [[ -z $separate ]]; then
				measure "$column" "$count" "${some[@]}"
				continue
			fi
			for row in "${some[@]}"; do
				measure "$column" "$count" "$row"
			done
		done
	done
done

awk -f "$bench/report.awk" "$raw" | tee ${out:+"$out"}
