#!/bin/bash
# A long mixed load in a guest gives the same output as on the host. Speaks TAP.
#
# usage: soak.sh VENEER BUILD-DIR SOURCE-DIR [ENGINE [CPUS [PERCENT [ROUNDS]]]]
#
# PERCENT is how much of the benchmarks' usual work is done (5) in each of ROUNDS rounds (2).
set -u
export LC_ALL=C

(($# >= 3)) || { echo "usage: $0 VENEER BUILD-DIR SOURCE-DIR [ENGINE [CPUS [PERCENT [ROUNDS]]]]" >&2; exit 2; }
veneer=$1
built=$2/tests/boot/soak-programs
source=$3
engine=${4:-auto}
cpus=${5:-2}
percent=${6:-5}
rounds=${7:-2}
busybox=$source/.cache/guest/busybox
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

mkdir "$work/bin" "$work/programs"
programs=$work/programs
find "$built" -maxdepth 1 -type f -executable -exec ln -s {} "$programs" \;
"$busybox" --list | while read -r applet; do
	ln -s "$busybox" "$work/bin/$applet"
done
native=$SECONDS
env -i PATH="$work/bin" TMPDIR="$work" "$busybox" sh "$source/tests/boot/soak-load.sh" "$programs" "$percent" "$rounds" \
	>"$work/native" 2>&1
native=$((SECONDS - native))

cat >"$work/init" <<END
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /tmp
dmesg -n 1
sh /soak-load.sh /soak-programs $percent $rounds
echo "complaints \$(dmesg | grep -c -i -E 'BUG:|Oops|WARNING:|lockup|rcu:.*stall|Call Trace|segfault|general protection')"
poweroff -f
END
files=(--file "$source/tests/boot/soak-load.sh:/soak-load.sh")
for program in "$programs"/*; do
	files+=(--file "$program:/soak-programs/$(basename "$program")")
done
"$source/guests/make-initramfs.sh" "$work/initramfs" --init "$work/init" "${files[@]}" || exit 2
guest=$SECONDS
timeout -k 5 "${SOAK_TIMEOUT:-240}" "$veneer" run --kernel "$source/.cache/guest/vmlinuz" --initrd "$work/initramfs" \
	--cpus "$cpus" --memory 512M --engine "$engine" --no-reboot --append "console=ttyS0 quiet panic=-1" \
	</dev/null 2>"$work/err" | tr -d '\r' >"$work/out"
status=${PIPESTATUS[0]}
guest=$((SECONDS - guest))
# Without the kernel's own messages.
grep -v -e '^complaints' -e '^\[ *[0-9]*\.[0-9]*\] ' "$work/out" >"$work/guest"

failures=0
result()	# STATUS NUMBER NAME
{
	if (($1 == 0)); then
		echo "ok $2 - $3"
	else
		failures=$((failures + 1))
		echo "not ok $2 - $3"
	fi
}

lines=$(wc -l <"$work/native")
((lines >= rounds * 40)) && cmp -s "$work/native" "$work/guest"
result $? 1 "$lines lines of a mixed load are as on the host"
((failures)) && diff "$work/native" "$work/guest" | head -n 20 | sed 's/^/# /'
grep -q '^complaints 0$' "$work/out"
result $? 2 "the guest's kernel has nothing to complain about"
((status == 0)) && [[ ! -s $work/err ]]
result $? 3 "the machine powers off with status 0"
((failures)) && { echo "# exit status $status"; tail -n 20 "$work/err" | sed 's/^/# /'; }
echo "# $guest seconds in the guest, $native on the host"
echo "1..3"
((failures == 0))
