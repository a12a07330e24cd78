# shellcheck shell=bash
# What run.sh and real.sh share, sourced by both: messages, options, the binaries to measure, and
# the lines for report.awk. They set `columns`, the table's, before they call `describe`.
# shellcheck disable=SC2034,SC2154 # some variables are for, and some from, who sources this

set -euo pipefail
export LC_ALL=C

project=$(dirname "$bench")
work=$project/.cache/bench
raw=$work/raw.tsv

# Loud enough to say why a kernel stopped, quiet enough not to measure the serial port. Without
# mitigations every kernel does the same, whatever processor it believes to have.
readonly arguments='console=ttyS0 loglevel=4 mitigations=off'

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

say()
{
	echo "${0##*/}: $*" >&2
}

record()
{
	local IFS=$'\t'

	echo "$*" >>"$raw"
}

sudo=()
[[ $(id -u) == 0 ]] || sudo=(sudo)
command=() # vmm_command fills these two
fifo=
# shellcheck source=/dev/null
. "$bench/vmm.sh"

cpus=1
no_veneer=
runs=3
percent=100
engines=bt
out=

number()
{
	[[ $2 =~ ^[1-9][0-9]{0,3}$ ]] || die "$1 $2: expected a number from 1 to 9999"
	echo "$2"
}

names()
{
	case $2 in
	*[!a-z0-9,-]*) die "$1 $2: expected names separated by commas" ;;
	esac
	echo "$2"
}

# What the user gave with --veneer, as words [NAME=]FILE. NAME tells several apart in the table.
veneers=()

add_veneers()
{
	local word file

	for word in ${1//,/ }; do
		file=${word#*=}
		[[ -x $file && -f $file ]] || die "--veneer $word: expected an executable"
		[[ $word == "$file" || $word =~ ^[a-z0-9.-]+= ]] ||
			die "--veneer $word: expected a NAME of a-z, 0-9, '.' and '-'"
		veneers+=("$word")
	done
}

# Add to `columns` one for each of veneer's binaries and engines, and say in `binary` which.
add_veneer_columns()
{
	local engine word name column number=0

	((${#veneers[@]})) || build_veneer
	for word in "${veneers[@]}"; do
		number=$((number + 1))
		name=@${word%%=*}
		[[ $word == *=* ]] || name=@$number
		((${#veneers[@]} > 1)) || [[ $word == *=* ]] || name=
		for engine in ${engines//,/ }; do
			column=veneer-$engine$name
			[[ -z ${binary[$column]:-} ]] || die "two --veneer are named ${name#@}"
			columns+=("$column")
			binary["$column"]=$(realpath "${word#*=}")
		done
	done
}

# Build this project's veneer. A build that fails is no reason to measure the binary of an earlier
# one: $no_veneer then says why there is none.
build_veneer()
{
	veneers=("$project/build/veneer")
	[[ -f $project/build/build.ninja ]] ||
		meson setup "$project/build" "$project" >"$work/meson.log" 2>&1 ||
		{ no_veneer="meson setup failed, see $work/meson.log" && return; }
	ninja -C "$project/build" veneer >"$work/ninja.log" 2>&1 ||
		no_veneer="the build failed, see $work/ninja.log"
}

# Only one run at a time, and a new table.
begin()
{
	mkdir -p "$work"
	exec {lock}>"$work/lock"
	flock -n "$lock" || die "another run is under way: two at once would measure each other"
	: >"$raw"
	{ read -r kernel && read -r busybox; } < <("$project/guests/fetch-debian.sh")
}

build_stamp()
{
	"${CC:-cc}" -std=gnu17 -O2 -o "$work/stamp" "$bench/stamp.c"
}

# What the table's notes say; `present` becomes the columns that can take part.
describe()
{
	local column reason commit cpu load guest

	commit=$(git -C "$project" log -1 --format='%h of %cs' 2>/dev/null) || commit=unknown
	[[ -z $(git -C "$project" status --porcelain -uno 2>/dev/null) ]] ||
		commit+=", changed since"
	record note "commit $commit; measured on $(date -u '+%Y-%m-%d %H:%M UTC')"
	cpu=$(sed -n 's/^model name.*: //p' /proc/cpuinfo | sed -n 1p)
	read -r load _ </proc/loadavg
	record note "$cpu, $(nproc) processors, Linux $(uname -r); load before: $load"
	guest=$(grep linux-image "$(dirname "$kernel")/versions")
	record note "guest: $guest, $memory MiB, $guest_processors"
	present=()
	for column in "${columns[@]}"; do
		record column "$column" "$(vmm_label "$column")"
		reason=$(vmm_missing "$column")
		if [[ -n $reason ]]; then
			record missing "$column" "$reason"
		else
			record note "$(vmm_label "$column"): $(vmm_version "$column")"
			present+=("$column")
		fi
	done
}

# parse_rows COLUMN LOG: record the results among a stamped log's lines. A program prints
# "begin NAME" before its work and "NAME CHECKSUM SECONDS [PROCESSES CPU]" after it, by its own
# clock. A guest's processor time is its monitor's.
parse_rows()
{
	awk -F '\t' -v OFS='\t' -v column="$1" '
		{ split($4, word, " ") }
		word[1] == "begin" {
			name = word[2]
			begin = $2
			begin_cpu = $3
		}
		name != "" && word[1] == name {
			split(word[5], part, "+")
			cpu = column == "native" ? part[1] + part[2] : $3 - begin_cpu
			print "suite", column, name, word[2], $1 - begin, word[3], cpu
			if (word[4] != "")
				print "count", column, name, "processes", word[4]
		}
		word[2] == "unsupported" { print "suite", column, word[1], "unsupported", 0, 0 }
	' "$2" >>"$raw"
}
