#!/bin/bash
# Debian's autopkgtest runs with veneer in QEMU's place, both as they are: a package's tests, in a machine that is
# made for it. On demand; test.sh does not run it: to make the image takes 5 to 10 minutes, and root or user
# namespaces ("veneer image"). Needs the packages autopkgtest, qemu-utils, ovmf, mmdebstrap and what else
# "veneer image --efi" asks for.
#
# usage: autopkgtest.sh VENEER [IMAGE [ARGUMENT...]]
#
# VENEER has its helpers beside it. IMAGE is made if it is not there, and kept; default: one that is forgotten.
# ARGUMENTs are autopkgtest's, such as --no-built-binaries DIRECTORY, of a source package; default: two small tests.
set -euo pipefail
export LC_ALL=C
veneer=$(realpath "${1:?usage: autopkgtest.sh VENEER [IMAGE [PACKAGE...]]}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
image=$(realpath -m "${2:-$work/image}")
shift $(($# < 2 ? $# : 2))

for need in autopkgtest:autopkgtest qemu-img:qemu-utils; do
	command -v "${need%:*}" >/dev/null || { echo "${need%:*} is missing: install ${need#*:}" >&2; exit 1; }
done

wait_for()
{
	local seen="" byte

	while IFS= read -r -d '' -n 1 -t 300 byte <&"$from"; do
		seen+=$byte
		[[ $seen != *"$1" ]] || return 0
	done
	echo "no '$1' came: $seen" >&2
	return 1
}

# As autopkgtest-build-qemu has it, but for the boot loader: a kernel with 9P, Python, dpkg-dev, and a root shell at
# hvc1. A kernel for clouds has no 9P.
make_image()
{
	"$veneer" image "$image.new" --efi --size 3G --packages python3,linux-image-amd64,dpkg-dev >"$work/image.log" 2>&1 ||
		{ tail -20 "$work/image.log" >&2; exit 1; }
	cat >"$work/commands" <<-'END'
		cat >/etc/systemd/system/autopkgtest@.service <<'UNIT'
		[Unit]
		ConditionPathExists=/dev/%I
		[Service]
		ExecStart=/bin/sh
		StandardInput=tty-fail
		StandardOutput=tty
		StandardError=tty
		TTYPath=/dev/%I
		SendSIGHUP=yes
		SuccessExitStatus=0 208 SIGHUP SIGINT SIGTERM SIGPIPE
		[Install]
		WantedBy=multi-user.target
		UNIT
		systemctl -q enable autopkgtest@hvc1
		systemctl -q mask serial-getty@hvc0
		useradd -m user
		DEBIAN_FRONTEND=noninteractive dpkg -P $(dpkg-query -Wf '${Package}\n' 'linux-image-*cloud*')
		cd / && ln -sf boot/vmlinuz-* vmlinuz && ln -sf boot/initrd.img-* initrd.img
		sed -i 's/virtio_blk/virtio_blk,ext4/' /etc/tiny-initramfs/tiny-initramfs.conf
		update-tirfs
		sync
		systemctl poweroff
	END
	coproc machine { timeout 600 "$veneer" run "$image.new" 2>&1; }
	exec {from}<&"${machine[0]}" {to}>&"${machine[1]}"
	# shellcheck disable=SC2154 # coproc assigns it
	pid=$machine_PID
	wait_for 'login: ' && echo root >&"$to" && wait_for '# ' && cat "$work/commands" >&"$to" &&
		cat <&"$from" >"$work/setup.log" && wait "$pid" ||
		{ tail -40 "$work/setup.log" >&2; exit 1; }
	exec {from}<&- {to}>&-
	mv "$image.new" "$image"
}

make_tree()
{
	mkdir -p "$work/tree/debian/tests"
	cd "$work/tree/debian"
	cat >control <<-'END'
		Source: veneer-probe
		Section: misc
		Priority: optional
		Maintainer: Nobody <nobody@example.org>

		Package: veneer-probe
		Architecture: all
		Description: is only there to be tested
	END
	cat >changelog <<-'END'
		veneer-probe (1) unstable; urgency=low

		  * First.

		 -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
	END
	printf 'Tests: %s\nDepends:\nRestrictions: %s\n\n' user allow-stderr root needs-root >tests/control
	cat >tests/user <<-'END'
		#!/bin/sh -e
		[ "$(id -u)" != 0 ]
		grep -q veneer-probe debian/control
		seq 100000 | sha256sum | grep -q .
		uname -sr
	END
	cat >tests/root <<-'END'
		#!/bin/sh -e
		[ "$(id -u)" = 0 ]
		grep -q ' 9p ' /proc/mounts
		echo made >"$AUTOPKGTEST_ARTIFACTS/artifact"
	END
	chmod +x tests/user tests/root
	cd - >/dev/null
}

[[ -e $image ]] || make_image
if (($# == 0)); then
	make_tree
	set -- --no-built-binaries "$work/tree"
fi
ln -s "$veneer" "$work/qemu-system-x86_64"
begin=$SECONDS
autopkgtest --output-dir "$work/output" "$@" -- qemu --boot=efi --qemu-command="$work/qemu-system-x86_64" "$image"
echo "ok: autopkgtest, $((SECONDS - begin)) s"
