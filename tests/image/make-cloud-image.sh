#!/bin/bash
# Make a disk image like those that Debian offers for clouds ("genericcloud"): packages, cloud-init, GRUB's
# own configuration with its long menu, host keys and machine-id missing; a GPT with a root partition, one for
# GRUB and one for EFI, in Debian's order; compressed qcow2. That it can be started by GRUB is not needed
# here, so GRUB itself is not written to the disk.
#
# usage: make-cloud-image.sh FILE.qcow2		(as root, or where a user namespace can be had)
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

image=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root_mib=1800
export ROOT_UUID PART_UUID EFI_ID=1234-ABCD SIZE=${root_mib}M
ROOT_UUID=$(cat /proc/sys/kernel/random/uuid)
PART_UUID=$(cat /proc/sys/kernel/random/uuid)

packages=(
	linux-image-cloud-amd64 initramfs-tools grub-common grub2-common grub-pc-bin
	cloud-init cloud-guest-utils netplan.io systemd-sysv systemd-resolved systemd-timesyncd udev dbus libpam-systemd
	openssh-server sudo ca-certificates locales unattended-upgrades
	e2fsprogs fdisk iproute2 iputils-ping kmod less netbase procps vim-tiny
)

# The host's own sources, where it is a Debian of that release.
# shellcheck disable=SC2016
sources()
{
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
		sed -n 's/ Debian$//p' | sort -u | sed -n 's/^\([^ ]* bookworm[^ ]* main\)$/deb \1/p'
}

# grub-mkconfig asks grub-probe about the disk on which it runs; this one knows what will be there.
# shellcheck disable=SC2016
configure='
set -eu
cat >"$1"/etc/fstab <<END
PARTUUID=$PART_UUID / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
UUID=$EFI_ID /boot/efi vfat defaults,nofail 0 0
END
echo LANG=C.UTF-8 >"$1"/etc/default/locale
mkdir -p "$1"/boot/efi "$1"/boot/grub "$1"/etc/default/grub.d
cat >"$1"/etc/default/grub.d/10_cloud.cfg <<END
GRUB_DISTRIBUTOR=Debian
GRUB_DISABLE_OS_PROBER=true
GRUB_DISABLE_LINUX_UUID=true
GRUB_DISABLE_LINUX_PARTUUID=false
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX_DEFAULT=
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --speed=115200"
END
mv "$1"/usr/sbin/grub-probe "$1"/usr/sbin/grub-probe.real
cat >"$1"/usr/sbin/grub-probe <<END
#!/bin/sh
case "\$*" in
*--target=device*) echo /dev/vda1 ;;
*--target=fs_uuid*) echo $ROOT_UUID ;;
*--target=partuuid*) echo $PART_UUID ;;
*--target=fs*) echo ext2 ;;
*--target=partmap*) echo gpt ;;
*--target=hints_string*) echo --hint-bios=hd0,gpt1 --hint-efi=hd0,gpt1 ;;
*--target=compatibility_hint*) echo hd0,gpt1 ;;
*--target=drive*) echo "(hd0,gpt1)" ;;
*--target=abstraction*) ;;
*) exit 1 ;;
esac
END
chmod 755 "$1"/usr/sbin/grub-probe
mkdir -p "$1"/dev/disk/by-partuuid
touch "$1"/dev/disk/by-partuuid/$PART_UUID
chroot "$1" grub-mkconfig -o /boot/grub/grub.cfg
rm -r "$1"/dev/disk
mv "$1"/usr/sbin/grub-probe.real "$1"/usr/sbin/grub-probe
chroot "$1" systemctl -q enable systemd-networkd systemd-resolved
ln -sf ../run/systemd/resolve/stub-resolv.conf "$1"/etc/resolv.conf
chroot "$1" apt-get clean
rm -rf "$1"/etc/ssh/ssh_host_*_key* "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/etc/hostname
rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/apt/apt.conf.d/99mmdebstrap
: >"$1"/etc/machine-id
'
# As in src/helper/image.sh: a view without what is mounted in it.
# shellcheck disable=SC2016
make_file_system='
set -eu
scratch=$(mktemp -d)
mkdir "$scratch"/view
mount --bind "$1" "$scratch"/view 2>/dev/null || cp -ax "$1"/. "$scratch"/view
mke2fs -q -t ext4 -U "$ROOT_UUID" -d "$scratch"/view "$scratch"/image "$SIZE"
umount "$scratch"/view 2>/dev/null || true
dd if="$scratch"/image bs=1M conv=sparse status=none >&3
rm -rf --one-file-system "$scratch"
'

sources >"$work/sources"
mirrors=()
[[ ! -s $work/sources ]] || mirrors=(- -)
exec 3>"$work/root"
mmdebstrap --variant=apt --format=null --include="$(IFS=,; echo "${packages[*]}")" \
	--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr --dpkgopt=force-unsafe-io \
	--customize-hook="$configure" --customize-hook="$make_file_system" \
	bookworm "${mirrors[@]}" <"$work/sources" >&2
exec 3>&-

# In MiB; the first 128 are the two small partitions' and what GRUB and GPT need.
truncate -s $((root_mib + 130))M "$work/disk"
sfdisk -q "$work/disk" <<END
label: gpt
first-lba: 34
1: start=128MiB, size=${root_mib}MiB, type=L, uuid=$PART_UUID
14: start=1MiB, size=3MiB, type=21686148-6449-6E6F-744E-656564454649
15: start=4MiB, size=124MiB, type=U
END
dd if="$work/root" of="$work/disk" bs=1M seek=128 conv=notrunc,sparse status=none
rm "$work/root"
truncate -s 124M "$work/efi"
mkfs.vfat -i "${EFI_ID/-/}" "$work/efi" >/dev/null
dd if="$work/efi" of="$work/disk" bs=1M seek=4 conv=notrunc,sparse status=none
qemu-img convert -c -O qcow2 "$work/disk" "$work/disk.qcow2"
mv "$work/disk.qcow2" "$image"
