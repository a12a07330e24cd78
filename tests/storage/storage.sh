#!/bin/bash
# Boots Debian's full kernel with disks and discs at old controllers, has its own drivers exercise them
# (guest-init.sh), and compares what is on the host afterwards. Speaks TAP.
#
# usage: storage.sh VENEER BUILD-DIR SOURCE-DIR ENGINE CPUS...
#
# In the environment: GUEST, a directory that guests/fetch-debian.sh --full filled; PARTS, which of
# guest-init.sh's parts run (all).
set -u
export LC_ALL=C

(($# >= 5)) || { echo "usage: $0 VENEER BUILD-DIR SOURCE-DIR ENGINE CPUS..." >&2; exit 2; }
veneer=$1
programs=$2/tests/virtio
source=$3
engine=$4
shift 4
guest=${GUEST:-$source/.cache/guest-full}
parts=${PARTS:-ide,ahci,floppy}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failures=0

result()	# STATUS NAME [NOTE]
{
	number=$((number + 1))
	if (($1 == 0)); then
		echo "ok $number - $2"
	else
		failures=$((failures + 1))
		echo "not ok $number - $2"
		[[ -z ${3-} ]] || echo "# $3"
	fi
}

# boot NAME CPUS OPTION...: into $work/NAME.log, .err and .status
boot()
{
	local name=$1 cpus=$2

	shift 2
	timeout -k 5 $((120 * ${TIMEOUT_SCALE:-1})) "$veneer" run --kernel "$guest/vmlinuz" --initrd "$work/initramfs" \
		--cpus "$cpus" --memory 256M --engine "$engine" --no-reboot \
		--append "console=ttyS0 quiet panic=-1 parts=$name" "$@" </dev/null \
		>"$work/$name.log" 2>"$work/$name.err"
	echo $? >"$work/$name.status"
}

# judge NAME WHAT: the checks that the guest has made, and how the machine ended
judge()
{
	local word one rest ended=1 status

	while IFS=$' \t\r' read -r word one rest; do
		case $word in
		check)
			[[ $one == ok ]]
			result $? "$2: $rest"
			;;
		checks) ended=0 ;;
		esac
	done <"$work/$1.log"
	result $ended "$2: all checks ran" "last lines: $(tail -n 5 "$work/$1.log" | tr '\r\n' ' |')"
	status=$(cat "$work/$1.status")
	((status == 0)) && [[ ! -s $work/$1.err ]]
	result $? "$2: powers off with status 0" "status $status $(head -c 500 "$work/$1.err")"
}

text()		# of guest-init.sh
{
	seq 1 100000 | head -c 524288
}

same_bytes()	# FILE OFFSET: the text is there
{
	cmp -s <(tail -c +$(($2 + 1)) "$1" | head -c 524288) <(text)
}

"$source/guests/make-initramfs.sh" "$work/initramfs" --guest "$guest" --init "$source/tests/storage/guest-init.sh" \
	--module sd_mod --module sr_mod --module isofs --module ata_piix --module ahci --module floppy \
	--file "$programs/guest-disk:bin/guest-disk" || exit 2
mkdir "$work/disc" && text >"$work/disc/text.txt" &&
	xorriso -as mkisofs -quiet -R -o "$work/disc.iso" "$work/disc" 2>/dev/null || exit 2

run_disks()	# CPUS BUS
{
	truncate -s 32M "$work/plain"
	{ text && head -c 3M /dev/zero; } >"$work/text"
	boot "$2" "$1" --disk "$work/plain,bus=$2,serial=plain" --disk "$work/text,bus=$2,readonly" \
		--cdrom "$work/disc.iso,bus=$2"
	judge "$2" "$engine, $1 CPU"
	same_bytes "$work/plain" 0
	result $? "$engine, $1 CPU, $2: what was written and flushed is in the file"
	same_bytes "$work/text" 0
	result $? "$engine, $1 CPU, $2: a read-only disk's file is unchanged"
	rm "$work"/{plain,text}
}

run_ide()	# CPUS
{
	run_disks "$1" ide
}

run_ahci()	# CPUS
{
	run_disks "$1" ahci
}

run_floppy()	# CPUS
{
	truncate -s 1440K "$work/first"
	text >"$work/second"
	truncate -s 720K "$work/second"
	boot floppy "$1" --floppy "$work/first" --floppy "$work/second,readonly"
	judge floppy "$engine, $1 CPU"
	same_bytes "$work/first" 0
	result $? "$engine, $1 CPU, floppy: what was written is in the file"
	rm "$work"/{first,second}
}

for cpus; do
	for part in ${parts//,/ }; do
		"run_$part" "$cpus"
	done
done
echo "1..$number"
((failures == 0))
