#!/bin/bash
# Make an initramfs: a cpio archive the kernel unpacks into its first root file system.
#
#   guests/make-initramfs.sh OUT [--file SRC:DST]... [--module NAME]... [--init SCRIPT] [--guest DIR] [--busybox FILE] [--gzip]
#
#   --file SRC:DST   put the host's file SRC at /DST, with its permission bits
#   --module NAME    put a kernel module and those that it needs where modprobe(8) looks for them
#   --guest DIR      where guests/fetch-debian.sh left busybox and modules; default .cache/guest
#   --init SCRIPT    the guest's /init; the default mounts /proc, /sys and /dev, gives a shell on
#                    the console and powers off when the shell ends
#   --busybox FILE   a static busybox; the default is what guests/fetch-debian.sh fetched. It
#                    becomes /bin/busybox, with a link for each of its applets
#   --gzip           compress. Without it the guest boots faster: it has nothing to inflate
#
# The archive is written here, byte by byte, in the "newc" format of the kernel's
# Documentation/driver-api/early-userspace/buffer-format.rst. cpio(1) could copy a tree, but the
# tree must hold the device node /dev/console, which only root can make on the host; in an archive
# it is 110 bytes that anyone can write. The same input always gives the same bytes.

set -euo pipefail
export LC_ALL=C		# so that ${#name} counts bytes

here=$(cd "$(dirname "$0")" && pwd)

die()
{
	echo "make-initramfs.sh: $*" >&2
	exit 1
}

default_init='#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
setsid cttyhack sh
poweroff -f
'

readonly DIRECTORY=040755 REGULAR=0100000 SYMLINK=0120777 CHARDEV=0020600

inode=0
declare -A written=()

# header MODE SIZE NAME [MAJOR MINOR]: an entry's header and name, padded to 4 bytes.
header()
{
	local mode=$1 size=$2 name=$3 major=${4:-0} minor=${5:-0}
	local name_size=$((${#name} + 1)) links=1

	inode=$((inode + 1))
	written[$name]=1
	# ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' \
		$inode "$mode" 0 0 $links 0 "$size" 0 0 "$major" "$minor" $name_size 0 "$name"
	pad $((110 + name_size))
}

# pad SIZE: zeros from SIZE up to the next multiple of 4.
pad()
{
	case $(($1 % 4)) in
	1) printf '\0\0\0' ;;
	2) printf '\0\0' ;;
	3) printf '\0' ;;
	esac
}

# A name's directories, outermost first: the kernel makes none by itself.
parents()
{
	local rest=$1 path=

	while [[ $rest == */* ]]; do
		path+=${rest%%/*}
		[[ -n ${written[$path]:-} ]] || header $DIRECTORY 0 "$path"
		path+=/
		rest=${rest#*/}
	done
}

directory()
{
	parents "$1/"
}

# regular PERMISSIONS NAME FILE: the host's FILE as NAME.
regular()
{
	local size

	size=$(stat -Lc %s "$3")
	parents "$2"
	header $((REGULAR | 0$1)) "$size" "$2"
	cat "$3"
	pad "$size"
}

# script NAME TEXT: an executable file that holds TEXT.
script()
{
	parents "$1"
	header $((REGULAR | 0755)) ${#2} "$1"
	printf '%s' "$2"
	pad ${#2}
}

symlink()
{
	local target=$1 name=$2

	[[ -z ${written[$name]:-} ]] || return 0
	parents "$name"
	header $SYMLINK ${#target} "$name"
	printf '%s' "$target"
	pad ${#target}
}

archive()
{
	local name pair src dst

	for name in dev proc sys tmp root; do
		directory $name
	done
	# /init's standard input and output, opened before anything is mounted on /dev.
	header $CHARDEV 0 dev/console 5 1

	if [[ -n $init ]]; then
		regular 755 init "$init"
	else
		script init "$default_init"
	fi
	for pair in "${files[@]}"; do
		src=${pair%%:*}
		dst=${pair#*:}
		regular "$(stat -Lc %a "$src")" "${dst#/}" "$src"
	done
	if ((${#names[@]})); then
		for name in modules.dep modules.alias $("$here/module-files.sh" "$modules" "${names[@]}"); do
			regular 644 "lib/modules/${modules##*/}/$name" "$modules/$name"
		done
	fi
	regular 755 bin/busybox "$busybox"
	for name in $applets; do
		symlink /bin/busybox "$name"
	done
	header 0 0 'TRAILER!!!'
}

out=
init=
compress=(cat)
guest=$here/../.cache/guest
busybox=
files=()
names=()
while (($#)); do
	case $1 in
	--file | --module | --init | --guest | --busybox)
		(($# > 1)) || die "$1 needs an argument"
		;;&
	--file)
		[[ $2 == *?:?* ]] || die "--file $2: expected SRC:DST"
		[[ -f ${2%%:*} && -r ${2%%:*} ]] || die "--file $2: cannot read ${2%%:*}"
		files+=("$2")
		shift
		;;
	--init)
		[[ -f $2 && -r $2 ]] || die "--init $2: cannot read it"
		init=$2
		shift
		;;
	--module)
		names+=("$2")
		shift
		;;
	--guest)
		guest=$2
		shift
		;;
	--busybox)
		busybox=$2
		shift
		;;
	--gzip) compress=(gzip -1n) ;;
	-*) die "unknown option $1" ;;
	*)
		[[ -z $out ]] || die "expected one output file, got $out and $1"
		out=$1
		;;
	esac
	shift
done
[[ -n $out ]] || die "expected the name of the file to make"
busybox=${busybox:-$guest/busybox}
[[ -x $busybox ]] || die "no busybox at $busybox: run guests/fetch-debian.sh first"
if ((${#names[@]})); then
	modules=$(echo "$guest"/modules/lib/modules/*)
	[[ -f $modules/modules.dep ]] || die "no modules in $guest: run guests/fetch-debian.sh first"
fi
applets=$("$busybox" --list-full) || die "$busybox --list-full failed: is it a static busybox?"

# Written under another name first: a reader never sees half an archive.
trap 'rm -f "$out.$$"' EXIT
archive | "${compress[@]}" >"$out.$$"
mv "$out.$$" "$out"
