#!/bin/sh
# Fetch the guest's kernel and user space from Debian's archive.
#
#   guests/fetch-debian.sh [--full | --i386 | --i386-pae] [DIR]      (default: .cache/guest in the project)
#
# Leaves, and prints the paths of:
#
#   DIR/vmlinuz   the kernel of Debian's linux-image-cloud-amd64 package, unmodified
#   DIR/busybox   the static busybox of Debian's busybox-static package
#
# and beside them DIR/config, the kernel's configuration; DIR/modules, its modules for file systems and
# for the devices that a machine here may have, with those that they need and the lists that modprobe(8)
# reads; and DIR/versions, what was fetched.
# With --full it is the kernel of linux-image-amd64, with more drivers (default: .cache/guest-full). With
# --i386 and --i386-pae it is that of linux-image-686 and of linux-image-686-pae, of 32 bits, and the busybox,
# too (default: .cache/guest-i386 and .cache/guest-i386-pae).
# The packages are unpacked, never installed, so no root is needed and the host's own boot files
# stay as they are. What is already there is kept, unless this script now wants other modules: remove DIR
# to fetch anew.

set -eu
# The package tools' output is read below, so it must not be translated.
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)

die()
{
	echo "fetch-debian.sh: $*" >&2
	exit 1
}

meta=linux-image-cloud-amd64
dir=$here/../.cache/guest
if [ "${1-}" = --full ]; then
	meta=linux-image-amd64
	dir=$here/../.cache/guest-full
	shift
fi
foreign=
case ${1-} in
--i386 | --i386-pae)
	meta=linux-image-686${1#--i386}
	dir=$here/../.cache/guest-${1#--}
	foreign=:i386
	shift
	;;
esac
# Some are for processors: udev loads them where it finds one of the right name. What the kernel has not
# got is left out.
modules="virtio_pci virtio_blk virtio_scsi virtio_net virtio_console virtio-rng 9p 9pnet_virtio ext4 btrfs vfat nls_cp437 nls_ascii isofs dm_mod"
modules="$modules nvme ahci ata_piix ata_generic sd_mod sr_mod floppy e1000 bochs parport_pc lp psmouse serio_raw"
modules="$modules evdev pcspkr button qemu_fw_cfg i2c-i801 lpc_ich iTCO_wdt"
modules="$modules i6300esb pvpanic-pci pvpanic-mmio"
modules="$modules intel_rapl_msr intel-uncore-frequency isst_if_mbox_msr skx_edac nfit"

case $# in
0) ;;
1) dir=$1 ;;
*) die "expected one directory, got $# arguments" ;;
esac
case $dir in
-*) die "expected a directory, got the option '$dir'" ;;
esac

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# Without DIR/versions somebody else has put them there.
if [ -s "$dir/vmlinuz" ] && [ -s "$dir/busybox" ] && [ -d "$dir/modules" ] &&
	{ [ ! -e "$dir/versions" ] || grep -qxF "modules: $modules" "$dir/versions"; }; then
	printf '%s\n' "$dir/vmlinuz" "$dir/busybox"
	exit 0
fi

for tool in apt-get apt-cache dpkg-deb; do
	command -v $tool >/dev/null ||
		die "$tool not found: this needs a Debian system; on another one put a kernel," \
			"a static busybox and modules into $dir as vmlinuz, busybox and modules"
done

# Unpack beside DIR, not in it, so that an interrupted run leaves nothing half made.
work=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# As root apt would hand downloads to the user _apt, who cannot write into $work.
set -- -o APT::Sandbox::User=root
sudo=
# The host need not know the other architecture: its lists are ours.
if [ -n "$foreign" ]; then
	mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
	set -- "$@" -o APT::Architectures::=amd64 -o APT::Architectures::=i386 \
		-o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache"
elif [ "$(id -u)" != 0 ]; then
	sudo=sudo
fi

# A minimal installation or a fresh container has no package lists yet.
known()	# PACKAGE APT-OPTION...
{
	local package=$1

	shift
	[ -n "$(apt-cache "$@" show --no-all-versions "$package" 2>/dev/null)" ]
}
if ! known $meta$foreign "$@" || ! known busybox-static$foreign "$@"; then
	echo "fetch-debian.sh: updating the package lists" >&2
	# What cannot be had of them may not be needed.
	$sudo apt-get "$@" -q update >&2 || true
	known $meta$foreign "$@" ||
		die "no package $meta$foreign: is this Debian on amd64?"
	known busybox-static$foreign "$@" || die "no package busybox-static$foreign in the package lists"
fi

# The package is empty; the kernel is in the one versioned image it depends on.
image=$(apt-cache "$@" depends --important "$meta$foreign" |
	sed -n "s/^ *Depends: \(linux-image-[0-9].*-${meta#linux-image-}\)\(:i386\)*\$/\1/p" | head -n 1)
[ -n "$image" ] || die "$meta depends on no linux-image-*-${meta#linux-image-}"

(cd "$work" && apt-get -q "$@" download "$image$foreign" busybox-static$foreign >&2) ||
	die "cannot download $image and busybox-static"
for package in "$work"/*.deb; do
	# shellcheck disable=SC2016 # the format is dpkg-deb's, not the shell's
	dpkg-deb --show --showformat '${Package} ${Version}\n' "$package" >>"$work/versions"
done
dpkg-deb --fsys-tarfile "$work/$image"_*.deb | tar -x -C "$work" ./boot ./lib/modules
dpkg-deb --fsys-tarfile "$work/busybox-static"_*.deb | tar -x -C "$work" ./bin

kernel=$work/boot/vmlinuz-${image#linux-image-}
[ -s "$kernel" ] || die "$image holds no /boot/vmlinuz-${image#linux-image-}"
[ -s "$work/bin/busybox" ] || die "busybox-static holds no /bin/busybox"

# Of some thousand modules only these, or a hundred megabytes would be kept.
version=${image#linux-image-}
"$work/bin/busybox" depmod -b "$work" "$version"
mkdir -p "$work/modules/lib/modules/$version"
(cd "$work/lib/modules/$version" &&
	# shellcheck disable=SC2046,SC2086 # lists of words
	tar -c $("$here/module-files.sh" . $modules)) | tar -x -C "$work/modules/lib/modules/$version"
"$work/bin/busybox" depmod -b "$work/modules" "$version"
echo "modules: $modules" >>"$work/versions"

rm -rf "$dir/modules"
mv "$work/modules" "$dir/modules"
mv "$kernel" "$dir/vmlinuz"
mv "$work/boot/config-${image#linux-image-}" "$dir/config"
mv "$work/bin/busybox" "$dir/busybox"
mv "$work/versions" "$dir/versions"
printf '%s\n' "$dir/vmlinuz" "$dir/busybox"
