#!/bin/bash
# Boots Debian's full kernel with shared directories, has its own 9P client exercise them (guest-init.sh,
# guest-posix.c), and boots it from one as its root file system. Speaks TAP.
#
# usage: share.sh VENEER BUILD-DIR SOURCE-DIR ENGINE [ENTRIES]
#
# In the environment: GUEST, a directory that guests/fetch-debian.sh --full filled. ENTRIES: how many files the
# large directory has (2000).
set -u
export LC_ALL=C

(($# >= 4)) || { echo "usage: $0 VENEER BUILD-DIR SOURCE-DIR ENGINE [ENTRIES]" >&2; exit 2; }
veneer=$1
programs=$2/tests/share
source=$3
engine=$4
entries=${5:-2000}
guest=${GUEST:-$source/.cache/guest-full}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
. "$source/tests/boot/linux-guest.sh"

"$source/guests/make-initramfs.sh" "$work/initramfs" --guest "$guest" --init "$source/tests/share/guest-init.sh" \
	--module 9p --module 9pnet_virtio --module virtio_pci --file "$programs/guest-posix:bin/guest-posix" || exit 2
append="console=ttyS0 quiet panic=-1"

mkdir "$work"/{none,passthrough,mapped,readonly}
echo text >"$work/readonly/file"
shares=(--share "$work/none,tag=none" --share "$work/readonly,tag=readonly,readonly"
	--share "$work/mapped,tag=mapped,security=mapped-xattr")
# Who is not root cannot be the owner that a guest's root is.
if (($(id -u) == 0)); then
	shares+=(--share "$work/passthrough,tag=passthrough,security=passthrough")
else
	shares+=(--share "$work/passthrough,tag=passthrough")
fi
boot shares 1 --append "$append entries=$entries" "${shares[@]}"
judge shares "$engine"
[[ -z $(ls -A "$work/none") ]]
result $? "$engine: nothing is left on the host"
[[ -f $work/mapped/null && ! -c $work/mapped/null && ! -L $work/mapped/link && $(stat -c %a "$work/mapped/link") == 600 ]]
result $? "$engine: a mapped device and a mapped link are files on the host"

# A root file system: busybox, and an init.
mkdir -p "$work"/root/{bin,proc,dev,sys}
cp "$guest/busybox" "$work/root/bin/busybox"
cat >"$work/root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev 2>/dev/null
grep -q ' / 9p ' /proc/mounts && echo "check ok root file system is the share"
echo written >/here && sync && [ "$(cat /here)" = written ] && echo "check ok the root file system is written"
echo "checks done"
poweroff -f
END
chmod +x "$work/root/init"
boot root 1 --append "$append root=files" --share "$work/root,tag=files"
judge root "$engine, root"
[[ $(cat "$work/root/here") == written && -L $work/root/bin/sh ]]
result $? "$engine, root: what the guest wrote is on the host"

echo "1..$number"
((failures == 0))
