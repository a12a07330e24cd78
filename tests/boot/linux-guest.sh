# What tests with a Linux guest share: to be sourced by a script that has set veneer, engine, guest (a directory
# of guests/fetch-debian.sh's) and work (a directory of its own, where the initramfs is). The guest's init says
# "check ok NAME", "check failed NAME", and "checks" at the end.

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
		--cpus "$cpus" --memory 256M --engine "$engine" --no-reboot "$@" </dev/null \
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
