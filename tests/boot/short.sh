#!/bin/bash
# Boots Debian's kernel, runs a few programs and powers off: for builds with sanitizers, which are too slow
# for boot.sh's clocks. Speaks TAP.
#
# usage: short.sh VENEER SOURCE-DIR ENGINE CPUS...
#
# With GUEST in the environment, a directory of guests/fetch-debian.sh's, it is that kernel with its user space;
# with PROGRAMS, another such directory, that one's user space: of 32 bits on a kernel of 64.
# With CPU_MODEL in the environment the guest has that CPU model. RUN_OPTIONS are more options of `veneer run`.
#
# With ADDRESS_SPACE in the environment, a `ulimit -v` in which no windows can be reserved, one warning and
# the statistics have to say so, and the boot must not take more than 30 seconds of processor time.
set -u
export LC_ALL=C

(($# >= 4)) || { echo "usage: $0 VENEER SOURCE-DIR ENGINE CPUS..." >&2; exit 2; }
veneer=$1
source=$2
engine=$3
shift 3
guest=${GUEST:-$source/.cache/guest}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failures=0

cat >"$work/init" <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev 2>/dev/null
seq 1 2000 | awk '{ s = (s * 31 + $1) % 65521 } END { print s }' | md5sum >/tmp/sum
i=0
while [ $i -lt 20 ]; do
	(seq 1 2000 | awk '{ s = (s * 31 + $1) % 65521 } END { print s }' | md5sum | cmp - /tmp/sum) || echo wrong
	i=$((i + 1))
done
awk 'BEGIN { for (i = 1; i <= 20000; i++) s += 1 / (i * i); printf "%.9f\n", s }' | grep -qx 1.644884068 || echo wrong
head -c 3000000 /dev/zero | sha256sum | grep -q ^35bce4ea || echo wrong
gzip -c /bin/busybox | gunzip | cmp - /bin/busybox || echo wrong
echo "done with $(nproc)"
poweroff -f
END
"$source/guests/make-initramfs.sh" "$work/initramfs" --guest "$guest" ${PROGRAMS:+--busybox "$PROGRAMS/busybox"} --init "$work/init" || exit 2

limits() # in the process that becomes veneer
{
	[[ -z ${ADDRESS_SPACE-} ]] || ulimit -v "$ADDRESS_SPACE" -t 30
}

good_warnings()
{
	if [[ -z ${ADDRESS_SPACE-} ]]; then
		[[ ! -s $work/err ]]
	else
		(($(grep -c '^veneer: ' "$work/err") == 1)) && grep -q 'warning: .*no room for windows' "$work/err" &&
			grep -q "^CPUs without windows  *$cpus\$" "$work/err"
	fi
}

for cpus; do
	(limits && exec timeout -k 5 $((280 * ${TIMEOUT_SCALE:-1})) "$veneer" run --kernel "$guest/vmlinuz" \
		--initrd "$work/initramfs" --cpus "$cpus" --engine "$engine" --no-reboot ${ADDRESS_SPACE:+--stats} \
		--cpu "${CPU_MODEL:-host}" ${RUN_OPTIONS-} --append "console=ttyS0 quiet panic=-1") </dev/null >"$work/out" 2>"$work/err"
	status=$?
	number=$((number + 1))
	if ((status == 0)) && good_warnings && grep -q "^done with $cpus" "$work/out" &&
		! grep -q '^wrong' "$work/out"; then
		echo "ok $number - a short boot with $cpus CPU(s)"
	else
		failures=$((failures + 1))
		echo "not ok $number - a short boot with $cpus CPU(s)"
		echo "# exit status $status"
		tail -n 30 "$work/out" "$work/err" | tr -d '\r' | sed 's/^/# /'
	fi
done
echo "1..$number"
((failures == 0))
