#!/bin/bash
# Make README's picture of a machine's screen: Debian's kernel on a VGA's text mode.
#
# usage: scripts/screenshot.sh [FILE]		(default: docs/screenshot.png; VENEER: the program)
set -eu
export LC_ALL=C

project=$(cd "$(dirname "$0")/.." && pwd)
veneer=${VENEER:-$project/build/veneer}
file=${1:-$project/docs/screenshot.png}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/init" <<'END'
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec >/dev/tty0 2>&1
printf '\033[2J\033[H\033[1;33mLinux %s on veneer\033[0m\n\n' "$(uname -r)"
printf '\033[32m~ #\033[0m grep -m 3 -e model -e vendor /proc/cpuinfo\n'
grep -m 3 -e model -e vendor /proc/cpuinfo
printf '\n\033[32m~ #\033[0m dmesg | tail -n 8\n'
dmesg | tail -n 8 | cut -c 1-79
printf '\n\033[32m~ #\033[0m '
echo shown >/dev/ttyS0
sleep 1000
END
chmod +x "$work/init"
[[ -e $project/.cache/guest/vmlinuz ]] || "$project/guests/fetch-debian.sh" >/dev/null
"$project/guests/make-initramfs.sh" "$work/initramfs" --init "$work/init"
"$veneer" run --kernel "$project/.cache/guest/vmlinuz" --initrd "$work/initramfs" --display none \
	--control "$work/control" --append "console=tty0 quiet panic=-1" </dev/null >"$work/console" &
machine=$!
for _ in {1..300}; do
	! grep -qs shown "$work/console" || break
	sleep 0.1
done
grep -q shown "$work/console"
"$veneer" screenshot "$work/control" "$file"
"$veneer" quit "$work/control"
wait $machine
