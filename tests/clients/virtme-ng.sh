#!/bin/bash
# virtme-ng, as its user has installed it, starts a kernel with the host's own files as its root: by veneer and by
# QEMU's TCG in turns. On demand; test.sh does not run it.
#
# usage: virtme-ng.sh QEMU-SYSTEM-X86_64 KERNEL [RUNS]
#
# The first is veneer by that name (build/qemu-system-x86_64); KERNEL is one whose modules are in /lib/modules. VNG in the
# environment is the program, if it is not in the path. Exit status 0: veneer's guest has said its kernel's version each time.
set -u
export LC_ALL=C

(($# >= 2)) || { echo "usage: $0 QEMU-SYSTEM-X86_64 KERNEL [RUNS]" >&2; exit 2; }
veneer=$1 kernel=$2 runs=${3:-1}
read -ra vng <<<"${VNG:-vng}"
command -v "${vng[0]}" >/dev/null || { echo "$0: ${vng[0]}: not found; VNG may name it" >&2; exit 2; }
version=${kernel##*/vmlinuz-}
failed=0

start()
{
	local before=$SECONDS said

	said=$(timeout 900 "${vng[@]}" -r "$kernel" --qemu "$1" --force-9p --disable-kvm -- uname -r </dev/null 2>/dev/null)
	printf '%s: %d s%s\n' "$1" $((SECONDS - before)) "$([[ $said == *"$version"* ]] || echo ', and FAILED')"
	[[ $said == *"$version"* ]]
}

for ((i = 0; i < runs; i++)); do
	start "$veneer" || failed=1
	other=$(command -v qemu-system-x86_64) && start "$other"
done
exit $failed
