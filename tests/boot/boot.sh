#!/bin/bash
# Boots Debian's kernel with 1, 2 and 4 processors, runs guest-init.sh in it, compares the guest's clocks
# with the host's, and expects a power-off. Speaks TAP.
#
# usage: boot.sh VENEER BUILD-DIR SOURCE-DIR [ENGINE [CPUS...]]
set -u
export LC_ALL=C

(($# >= 3)) || { echo "usage: $0 VENEER BUILD-DIR SOURCE-DIR [ENGINE [CPUS...]]" >&2; exit 2; }
veneer=$1
checks=$2/tests/boot/guest-checks
source=$3
engine=${4:-auto}
shift $(($# < 4 ? $# : 4))
(($#)) || set -- 1 2 4
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

# Two clocks that both ran for some seconds, in hundredths: within 5 % and a fifth of a second, which
# is what a busy host may take to hand a line of output on.
same_rate()	# GUEST HOST
{
	local difference=$(($1 - $2))

	((difference < 0)) && difference=$((-difference))
	((difference * 100 <= $2 * 5 + 2000))
}

# The guest's output on standard input, line by line as it comes.
judge()		# CPUS
{
	local word one two three four start_guest start_host host guest ended=1

	while IFS=$' \t\r' read -r word one two three four; do
		host=$((10#$(date +%s%N) / 10000000))
		case $word in
		check)
			[[ $one == ok ]]
			result $? "$1 CPU: $two $three $four"
			;;
		mark)
			guest=$((10#${three/./}))
			if [[ $one == start ]]; then
				start_guest=$guest start_host=$host
				continue
			fi
			same_rate $((guest - start_guest)) $((host - start_host))
			result $? "$1 CPU: clock $two runs at the host's rate" \
				"guest $((guest - start_guest)), host $((host - start_host)) hundredths"
			((four - host / 100 <= 3 && host / 100 - four <= 3))
			result $? "$1 CPU: the date is the host's with clock $two" \
				"guest $four, host $((host / 100))"
			;;
		checks) ended=0 ;;
		esac
	done
	result $ended "$1 CPU: all checks ran" "last lines: $(tail -n 5 "$work/log" | tr '\r\n' ' |')"
}

"$source/guests/make-initramfs.sh" "$work/initramfs" --init "$source/tests/boot/guest-init.sh" \
	--file "$checks:guest-checks" || exit 2
for cpus; do
	exec 3< <(timeout -k 5 240 "$veneer" run --kernel "$source/.cache/guest/vmlinuz" \
		--initrd "$work/initramfs" --cpus "$cpus" --memory 512M --engine "$engine" --no-reboot \
		--append "console=ttyS0 quiet panic=-1 cpus=$cpus" </dev/null 2>"$work/err" |
		tee "$work/log"; echo "${PIPESTATUS[0]}" >"$work/status")
	judge "$cpus" <&3
	exec 3<&-
	status=$(cat "$work/status")
	((status == 0)) && [[ ! -s $work/err ]]
	result $? "$cpus CPU: powers off with status 0" "status $status $(head -c 500 "$work/err")"
done
echo "1..$number"
((failures == 0))
