#!/bin/bash
# Make the disk image of a Debian guest. 'veneer image' checks its options and then runs this.
#
# usage: veneer-make-image FILE SIZE SUITE PACKAGES SSH-KEY MIRROR EFI		(the last four may be empty)
#
# mmdebstrap installs the system: as root, in a user namespace, or with fakechroot. While its directory
# is there, with the owners that the files shall have, mke2fs copies it into a file system. So it takes
# no mount and no loop device. That runs inside the namespace, whose user may neither read this script
# nor write the image where a home directory is private: files come in by mmdebstrap's tar-in, and
# the image goes out through descriptor 3.
#
# With EFI the disk has two partitions, the first one an EFI system partition. GRUB is all that is in it: one
# file with its modules and its configuration, which boots what Debian's links in the root directory say. So
# a kernel that the guest installs is booted next, and nothing in the guest knows of a boot loader.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin # where mke2fs is

file=$1 size=$2 suite=$3 more=$4 key=$5 mirror=$6 efi=$7
esp_start=1 esp_size=33 # MiB; the file system is behind it, and behind that a copy of the table

die()
{
	echo "veneer image: $*" >&2
	exit 4
}

need()
{
	command -v "$1" >/dev/null || die "$1 is missing: install the package $2"
}

# As mmdebstrap would find out itself, but it does not say what would help.
mode()
{
	if [[ $(id -u) == 0 ]]; then
		echo root
	elif command -v newuidmap >/dev/null && grep -q "^$(id -un):" /etc/subuid 2>/dev/null &&
		unshare --user true 2>/dev/null; then
		echo unshare
	elif command -v fakechroot >/dev/null && command -v fakeroot >/dev/null; then
		echo fakechroot
	else
		die "this user can have no user namespace here: install the package uidmap (and have a" \
			"line for $(id -un) in /etc/subuid and /etc/subgid), or the packages fakechroot and" \
			"fakeroot, or run it as root"
	fi
}

# The host's own sources of that release, where it has them; else mmdebstrap takes Debian's.
sources()
{
	local uri release component

	if [[ $mirror ]]; then
		echo "deb $mirror $suite main"
		return
	fi
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' \
		'Created-By: Packages' 2>/dev/null | sed -n 's/ Debian$//p' | sort -u |
		while read -r uri release component; do
			case $release in
			"$suite" | "$suite-updates" | "$suite-security") echo "deb $uri $release $component" ;;
			esac
		done
}

# --- what is in the guest ---

packages=(
	linux-image-cloud-amd64 tiny-initramfs # a kernel for virtual machines; an initrd of two drivers
	systemd-sysv udev dbus systemd-resolved # dbus: logind needs it, which serves the power button
	openssh-server ca-certificates
	e2fsprogs iproute2 iputils-ping kmod less netbase procps vim-tiny
)

# What dpkg leaves out, now and in the guest.
small=(
	'path-exclude=/usr/share/doc/*' 'path-include=/usr/share/doc/*/copyright'
	'path-exclude=/usr/share/info/*' 'path-exclude=/usr/share/locale/*' 'path-exclude=/usr/share/man/*'
)

put()
{
	mkdir -p "$root/$(dirname "$1")"
	cat >"$root/$1"
}

configuration()
{
	put etc/hostname <<<debian
	put etc/hosts <<-'END'
		127.0.0.1	localhost
		127.0.1.1	debian
		::1		localhost ip6-localhost ip6-loopback
	END
	put etc/fstab <<-'END'
		# The file system grows with its disk, at each boot.
		LABEL=debian	/	ext4	errors=remount-ro,x-systemd.growfs	0	1
	END
	# For whoever boots the disk without a boot loader; kernel-install reads this file, too.
	put etc/kernel/cmdline <<<"root=UUID=$uuid ro quiet"
	put etc/default/locale <<<LANG=C.UTF-8
	put etc/issue <<<$'Debian GNU/Linux \\n \\l: log in as root, without a password\n'
	# By its MAC address: a copy of the image has the same machine-id.
	put etc/systemd/network/80-dhcp.network <<-'END'
		[Match]
		Type=ether

		[Network]
		DHCP=yes

		[DHCPv4]
		ClientIdentifier=mac
	END
	put etc/tiny-initramfs/tiny-initramfs.conf <<-'END'
		AUTO_MODULES=no
		INCLUDE_MODULES=virtio_pci,virtio_blk${efi:+,ata_piix,ahci,sd_mod}
		MICROCODE=no
	END
	# With its file system grows the partition.
	[[ ! $efi ]] || put usr/lib/repart.d/root.conf <<<$'[Partition]\nType=root'
	printf '%s\n' "${small[@]}" | put etc/dpkg/dpkg.cfg.d/small
	if [[ $key ]]; then
		put root/.ssh/authorized_keys <"$key"
		chmod 700 "$root/root/.ssh"
		chmod 600 "$root/root/.ssh/authorized_keys"
	fi
}

# For a shell in mmdebstrap's namespace; $1 is the guest's root directory.
# shellcheck disable=SC2016
finish='
set -eu
rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/apt/apt.conf.d/99mmdebstrap
ln -sf ../run/systemd/resolve/stub-resolv.conf "$1"/etc/resolv.conf
in_guest() { chroot "$1" sh -c "$2"; }
in_guest "$1" "passwd -q -d root
systemd-machine-id-setup
systemctl -q enable systemd-networkd systemd-resolved serial-getty@ttyS0
systemctl -q disable systemd-networkd-wait-online e2scrub_reap e2scrub_all.timer
systemctl -q mask apt-daily.timer apt-daily-upgrade.timer getty@tty1 2>&1
ln -sf /usr/share/zoneinfo/UTC /etc/localtime
apt-get clean"
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/apt/* "$1"/var/log/dpkg.log
'
# A view of the directory without what is mounted in it; where mounting is not allowed, a copy.
# shellcheck disable=SC2016
make_file_system='
set -eu
echo mke2fs: writing >&2
scratch=$(mktemp -d)
mkdir "$scratch"/view
mount --bind "$1" "$scratch"/view 2>/dev/null || cp -ax "$1"/. "$scratch"/view
mke2fs -q -t ext4 -L debian -U "$ID" -m 1 -E assume_storage_prezeroed=1 -d "$scratch"/view \
	"$scratch"/image "$SIZE"
umount "$scratch"/view 2>/dev/null || true
dd if="$scratch"/image bs=1M seek="$START" conv=sparse status=none >&3
rm -rf --one-file-system "$scratch"
'

# --- EFI ---

need_efi_tools()
{
	need grub-mkimage grub-common
	need sfdisk fdisk
	need mkfs.vfat dosfstools
	need mcopy mtools
	[[ -r $grub/linux.mod ]] ||
		die "$grub/linux.mod is missing: install the package grub-efi-amd64-bin"
}

# The two partitions of $made, and the first one's contents.
add_efi()
{
	sfdisk -q "$made" <<-END
		label: gpt
		start=${esp_start}MiB, size=${esp_size}MiB, name=EFI, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
		start=${start}MiB, size=${fs_size}, name=root, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
	END
	cat >"$work/grub.cfg" <<-END
		search --no-floppy --fs-uuid --set=root $uuid
		linux /vmlinuz root=UUID=$uuid ro quiet console=tty0 console=ttyS0
		initrd /initrd.img
		boot
	END
	grub-mkimage -O x86_64-efi -d "$grub" -p / -c "$work/grub.cfg" -o "$work/BOOTX64.EFI" \
		part_gpt ext2 search search_fs_uuid linux boot efi_gop
	truncate -s "${esp_size}M" "$work/esp"
	mkfs.vfat -n EFI "$work/esp" >/dev/null
	mmd -i "$work/esp" ::EFI ::EFI/BOOT
	mcopy -i "$work/esp" "$work/BOOTX64.EFI" ::EFI/BOOT
	dd if="$work/esp" of="$made" bs=1M seek="$esp_start" conv=sparse,notrunc status=none
}

# --- progress ---

# Reads mmdebstrap's messages; on a terminal, keeps one line up to date.
watch_progress()
{
	local line shown= what='starting' seen=0 total=100 from=0 to=5 now

	while IFS= read -r line; do
		echo "$line" >&4
		[[ -t 2 ]] || continue
		case $line in
		'I: running apt-get update'*) from=2 to=10 total=8 what='reading the lists of packages' ;;
		'I: downloading packages'*) from=10 to=20 total=60 what='downloading the base system' ;;
		'I: extracting archives'*) from=20 to=25 total=60 what='unpacking the base system' ;;
		'I: installing essential'*) from=25 to=45 total=120 what='installing the base system' ;;
		'I: installing remaining'*) from=45 to=92 total=150 what='downloading packages' ;;
		'I: running --customize-hook in shell'*)
			((from < 92)) || continue
			from=92 to=96 what='configuring'
			;;
		'I: cleaning'*) from=99 to=100 what='cleaning up' ;;
		*' newly installed, '*)
			read -r _ _ now _ <<<"$line"
			[[ $now == *[!0-9]* ]] || total=$((now * 3))
			continue
			;;
		'mke2fs: '*) from=96 to=99 what='writing the file system' ;;
		Get:* | 'extracting archives'*) seen=$((seen + 1)) ;;
		'Unpacking '* | 'Setting up '*)
			seen=$((seen + 1))
			read -r what now _ <<<"${line/Setting up/Configuring}"
			what="${what,} ${now}"
			;;
		*) continue ;;
		esac
		[[ $line != I:* ]] || seen=0
		((seen <= total)) || seen=$total
		printf -v now '[%3d %%] %.60s' $((from + (to - from) * seen / total)) "$what"
		[[ $now == "$shown" ]] || printf '\r\033[K%s' "$now" >&2
		shown=$now
	done
	[[ ! -t 2 ]] || printf '\r\033[K' >&2
}

# --- do it ---

need mmdebstrap mmdebstrap
need mke2fs e2fsprogs
grub=/usr/lib/grub/x86_64-efi
start=0 fs_size=$size
if [[ $efi ]]; then
	need_efi_tools
	start=$((esp_start + esp_size))
	fs_size=$((${size%K} - (start + 1) * 1024))K
fi
mode=$(mode)
work=$(mktemp -d)
made=$file.part.$$
trap 'rm -rf "$work" "$made"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
umask 022
root=$work/root
uuid=$(cat /proc/sys/kernel/random/uuid)
mkdir -p "$root"
configuration
# Without the directories that are there already, whose owners and modes are the packages'.
(cd "$root" && find . -type f -o -name .ssh) |
	tar -C "$root" --owner=0 --group=0 --no-recursion --files-from=- -cf "$work/configuration.tar"
list=$(IFS=,; echo "${packages[*]}${more:+,$more}")
sources >"$work/sources"
mirrors=()
[[ ! -s $work/sources ]] || mirrors=(- -)

(: >"$made") 2>/dev/null || die "$file: cannot make a file there"
exec 3>"$made" 4>"$work/log"
# Where there are no sources, mmdebstrap takes deb.debian.org, with updates and security.
ID=$uuid SIZE=$fs_size START=$start mmdebstrap --mode="$mode" --verbose --variant=apt --format=null --include="$list" \
	--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr \
	"${small[@]/#/--dpkgopt=}" --dpkgopt=force-unsafe-io --dpkgopt=force-confold \
	--essential-hook="tar-in '$work/configuration.tar' /" \
	--customize-hook="$finish" --customize-hook="$make_file_system" \
	"$suite" "${mirrors[@]}" <"$work/sources" 2>&1 >/dev/null | watch_progress || {
	grep -E '^(E|Err|dpkg|mke2fs)[: ]' "$work/log" | tail -n 15 | cut -c 1-240 >&2 ||
		tail -n 15 "$work/log" >&2
	die "mmdebstrap could not make the guest (mode $mode)"
}
[[ -s $made ]] || die "mmdebstrap made no file system: $(tail -n 1 "$work/log")"
truncate -s "$size" "$made"
[[ ! $efi ]] || add_efi
ln -T "$made" "$file" 2>/dev/null || mv -n "$made" "$file"
[[ ! -t 2 ]] || printf '%s: Debian %s, %s on disk; veneer run %s starts it\n' "$file" "$suite" \
	"$(du -h "$file" | cut -f 1)" "$file" >&2
