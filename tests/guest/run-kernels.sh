#!/bin/sh
# Runs the guest kernels of the build directory DIR/guests/kernels under veneer, and says in TAP how
# each ended.
#
# usage: run-kernels.sh VENEER DIR [ENGINE [NAME...]]
#
# kernels.list in that directory has a line for each: name, CPUs, the exit status VENEER must
# have ("timeout": it must run until it is stopped; "triple": that of a triple fault), seconds.
# On a busy host or with a slow VENEER it may take TIMEOUT_SCALE times as long. RUN_OPTIONS are more
# options of "veneer run". The kernel "paravirt" runs on one processor, for which its CPUs have to wait;
# "pci" has the test devices.
set -u

if [ $# -lt 2 ]; then
	echo "usage: $0 VENEER DIR [ENGINE [NAME...]]" >&2
	exit 2
fi
veneer=$1
kernels=$2/guests/kernels
engine=${3:-auto}
shift 2
[ $# -gt 0 ] && shift

[ -r "$kernels/kernels.list" ] || {
	echo "$0: $kernels/kernels.list: not there; build the project first" >&2
	exit 2
}

# The status of veneer when the guest has triple-faulted.
triple=${TRIPLE_FAULT_STATUS:-6}
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
number=0
failed=0

while read -r name cpus want seconds; do
	wanted=yes
	if [ $# -gt 0 ]; then
		wanted=no
		for argument; do
			[ "$argument" = "$name" ] && wanted=yes
		done
	fi
	[ $wanted = yes ] || continue
	number=$((number + 1))

	[ "$want" = timeout ] || seconds=$((seconds * ${TIMEOUT_SCALE:-1}))
	crowd=
	[ "$name" = paravirt ] && crowd="taskset -c $(taskset -cp $$ | sed 's/.*[ ,-]//')"
	devices=
	[ "$name" = pci ] && devices=--pc-testdev
	timeout -k 5 "$seconds" $crowd "$veneer" run --kernel "$kernels/$name" --append "cpus=$cpus" \
		--cpus "$cpus" --memory 64M --engine "$engine" --debug-exit 0xf4 \
		--no-reboot $devices ${RUN_OPTIONS-} </dev/null >"$log" 2>&1
	status=$?

	case $want in
	timeout) want=124 ;;
	triple) want=$triple ;;
	esac
	# Status 1 could also come from elsewhere; a kernel that was content says so.
	said=yes
	[ "$want" = 1 ] && ! grep -a -q '^SUMMARY .* 0 failed' "$log" && said=no
	if [ $status -eq "$want" ] && [ $said = yes ]; then
		echo "ok $number - guest kernel $name"
	else
		failed=$((failed + 1))
		echo "not ok $number - guest kernel $name"
		echo "# exit status $status, want $want"
		grep -a -v '^PASS' "$log" | tr -d '\r' | tail -n 20 | sed 's/^/# /'
	fi
done <"$kernels/kernels.list"

echo "1..$number"
[ $failed -eq 0 ]
