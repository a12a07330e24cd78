#!/bin/bash
# Boot Debian's own kernel in a virtual machine, on this terminal, in one command.
#
#   ./demo.sh [--cpus N] [--memory SIZE]			an interactive shell
#   ./demo.sh [--cpus N] [--memory SIZE] -- CMD [ARG...]	run CMD in the guest instead
#   ./demo.sh [--cpus N] [--memory SIZE] --disk			a whole Debian, on a disk
#
# The third form makes a disk image with 'veneer image' the first time, and boots it: systemd, a
# network, ssh and apt. Log in as root, without a password; 'poweroff' ends it. What is changed on
# the disk (.cache/demo/debian.img) stays.
#
# The second form prints what CMD prints, exits with CMD's exit status, and needs no terminal. CMD
# is one of busybox's applets, or a script for its shell: ./demo.sh -- sh -c 'uname -a; nproc'. Its
# standard input is this script's: a file byte for byte, anything else line by line as text.
#
# What is missing is installed from Debian's packages first (as root, or by sudo), and said so on
# standard error.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$here/build
cache=$here/.cache/guest

die()
{
	echo "demo.sh: $*" >&2
	exit 125
}

usage()
{
	sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

machine=()
command=()
have_command=
disk=
while (($#)); do
	case $1 in
	--cpus | --memory)
		(($# > 1)) || die "$1 needs an argument"
		machine+=("$1" "$2")
		shift
		;;
	--cpus=* | --memory=*) machine+=("$1") ;;
	--disk) disk=$here/.cache/demo/debian.img ;;
	-h | --help)
		usage
		exit 0
		;;
	--)
		shift
		(($#)) || die "a command must follow --"
		have_command=1
		command=("$@")
		break
		;;
	*) die "unknown argument '$1'; try ./demo.sh --help" ;;
	esac
	shift
done

# --- what it takes: packages, the build, the guest's kernel and user space ---

prepare()
{
	local image_packages=()

	[[ ! $disk ]] || image_packages=(mmdebstrap e2fsprogs uidmap openssh-client)
	"$here/scripts/install-packages.sh" gcc libc6-dev binutils meson ninja-build pkg-config \
		libzydis-dev libjansson-dev libslirp-dev liburing-dev libnbd-dev libpng-dev libvncserver-dev libcmocka-dev libext2fs-dev \
		"${image_packages[@]}"
	[[ -e $build/build.ninja ]] || {
		echo "building veneer in $build" >&2
		meson setup --buildtype=release "$build" "$here"
	}
	ninja -C "$build" --quiet veneer veneer-net-user veneer-disk-boot veneer-make-image
	[[ $disk ]] || "$here/guests/fetch-debian.sh" "$cache"
}

log=$(mktemp)
work=$(mktemp -d)
trap 'rm -rf "$work" "$log"' EXIT
prepare </dev/null >"$log" || {
	cat "$log" >&2
	die "could not build or fetch what it takes"
}

# --- a whole Debian ---

# The first port from 2222 on that nobody listens at.
free_port()
{
	local port=2222

	while (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
		port=$((port + 1))
	done
	echo $port
}

boot_disk()
{
	local key=${disk%/*}/key port

	mkdir -p "${disk%/*}"
	[[ -e $key ]] || ssh-keygen -q -t ed25519 -N '' -f "$key"
	[[ -e $disk ]] || {
		echo "making a disk image with Debian, once: a minute or two" >&2
		"$build/veneer" image "$disk" --ssh-key "$key.pub" || die "no disk image"
	}
	port=$(free_port)
	echo "booting it; ssh -i $key -p $port root@127.0.0.1 reaches it, too" >&2
	"$build/veneer" run "$disk" --net "user,hostfwd=tcp:127.0.0.1:$port-:22" "${machine[@]}"
}

if [[ $disk ]]; then
	[[ ! $have_command ]] || die "--disk takes no command"
	status=0
	boot_disk || status=$?
	exit $status
fi

# --- the guest's first file system ---

# A word for the guest's shell to read back exactly as it is.
quote()
{
	printf "'%s' " "${1//\'/\'\\\'\'}"
}

rows=0 columns=0
[[ ! -t 0 ]] || read -r rows columns < <(stty size)
terminal=none input=tty
[[ ! -t 0 || ! -t 1 ]] || terminal=both
files=()
if [[ $have_command ]]; then
	{
		echo '#!/bin/sh'
		printf 'exec '
		for word in "${command[@]}"; do
			quote "$word"
		done
		echo
	} >"$work/command"
	chmod +x "$work/command"
	files+=(--file "$work/command:demo/command")
	if [[ -f /dev/stdin ]]; then
		input='file'
		cat >"$work/input"
		files+=(--file "$work/input:demo/input")
	fi
fi
{
	echo "rows=$rows columns=$columns terminal=$terminal input=$input"
	echo "term=$(quote "${TERM:-linux}")"
} >"$work/settings"
"$here/guests/make-initramfs.sh" "$work/initramfs" --init "$here/guests/demo-init.sh" \
	--busybox "$cache/busybox" --file "$work/settings:demo/settings" "${files[@]}"

run=("$build/veneer" run --kernel "$cache/vmlinuz" --initrd "$work/initramfs" --no-reboot
	"${machine[@]}")
quiet="quiet loglevel=3 panic=-1 random.trust_cpu=on"

# --- run it ---

if [[ ! $have_command ]]; then
	status=0
	"${run[@]}" --append "console=ttyS0 $quiet" || status=$?
	exit $status
fi

# The guest's own terminal drops what arrives before it is ready, and takes Ctrl-d for the end. The
# second one is for a last line that does not end in a newline.
feed()
{
	until grep -q '^demo: ready' "$work/console" 2>/dev/null; do
		sleep 0.1
	done
	cat
	printf '\004\004'
}

status=0
: >"$work/console"
run+=(--append "console=ttyS1 $quiet" --serial2 "$work/console")
if [[ -t 0 ]]; then
	"${run[@]}" || status=$?
elif [[ $input == file ]]; then
	"${run[@]}" </dev/null || status=$?
else
	exec 3<&0 4< <(feed <&3)
	feeder=$!
	"${run[@]}" <&4 || status=$?
	# It may wait for input that never comes.
	kill "$feeder" 2>/dev/null || true
fi
((status == 0)) || die "the machine ended with status $status"
guest_status=$(tr -d '\r' <"$work/console" | sed -n 's/^demo: exit status \([0-9]*\)$/\1/p')
[[ $guest_status ]] || {
	tail -n 20 "$work/console" >&2
	die "the guest stopped before the command had ended; its last words are above"
}
exit "$guest_status"
