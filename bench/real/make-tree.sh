#!/bin/bash
# Make the Debian tree in which bench/run.sh real runs its programs.
#
#   bench/real/make-tree.sh DIR
#
# Leaves, and keeps when they are there:
#
#   DIR/tree        the tree
#   DIR/tree.cpio   the same as an archive that the kernel unpacks into its first root file
#                   system, not compressed: the guest would spend its boot inflating it
#
# The packages come from where this machine's own come from, so host and guest run the same
# versions. A directory of root's: unpacking packages needs to set owners.

set -euo pipefail
export LC_ALL=C

project=$(cd "$(dirname "$0")/../.." && pwd)

# Compilers and interpreters, and what the rows' scripts call besides.
readonly packages=(
	gcc libc6-dev make autoconf
	python3 perl nodejs luajit default-jdk-headless
	sqlite3 redis-server redis-tools openssl zstd xz-utils git
	findutils diffutils cpio
)
# Nothing that runs reads these; each MiB of the tree is a MiB in every guest's memory, twice
# while it boots.
readonly excluded=(
	'/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*'
	'/usr/share/icons/*' '/usr/lib/jvm/*/jmods/*'
)

die()
{
	echo "make-tree.sh: $*" >&2
	exit 1
}

[[ $# == 1 && $1 != -* ]] || die "expected one directory"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[[ ! -s $dir/tree.cpio ]] || exit 0

sudo=()
[[ $(id -u) == 0 ]] || sudo=(sudo)

# The files that name this machine's Debian archives, and no other vendor's.
list_sources()
{
	local codename

	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	[[ -n $codename ]] || die "/etc/os-release names no VERSION_CODENAME: is this Debian?"
	grep -lsE "^(Suites:|deb ).*[[:space:]]$codename([[:space:]]|\$)" \
		/etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} ||
		die "no file of /etc/apt names the suite $codename"
}

# The source text of Java's own java.util, for javac to compile. Its package depends on the
# desktop, so it is only unpacked.
add_java_source()
{
	local version scratch=$dir/java-source

	version=$(apt-cache depends default-jdk-headless |
		sed -n 's/.*Depends: openjdk-\([0-9]*\)-jdk-headless$/\1/p' | sed -n 1p)
	rm -rf "$scratch"
	mkdir -p "$scratch"
	(cd "$scratch" &&
		apt-get -q -o APT::Sandbox::User=root download "openjdk-$version-source" >&2)
	dpkg-deb --fsys-tarfile "$scratch"/*.deb |
		tar -x -C "$scratch" --wildcards --transform='s:.*/::' '*/src.zip'
	"${sudo[@]}" mkdir -p "$new/usr/share/java-source"
	"${sudo[@]}" cp "$scratch/src.zip" "$new/usr/share/java-source/"
	"${sudo[@]}" chroot "$new" python3 -c '
import os, zipfile
os.chdir("/usr/share/java-source")
with zipfile.ZipFile("src.zip") as archive:
    archive.extractall(members=[name for name in archive.namelist()
                                if name.startswith("java.base/java/util/")])
os.remove("src.zip")'
	rm -rf "$scratch"
}

# shellcheck disable=SC2016 # mmdebstrap's shell expands it: Java's packages want the directory
readonly manuals='mkdir -p "$1/usr/share/man/man1"'
options=()
for pattern in "${excluded[@]}"; do
	options+=("--dpkgopt=path-exclude=$pattern")
done

"$project/scripts/install-packages.sh" mmdebstrap
mapfile -t sources < <(list_sources)
((${#sources[@]})) || exit 1
new=$dir/tree.new
"${sudo[@]}" rm -rf --one-file-system "$new"
# In a mount namespace of its own, so that nothing stays mounted there when this is interrupted.
"${sudo[@]}" unshare --mount mmdebstrap --mode=root --variant=apt --format=directory "${options[@]}" \
	--aptopt='Apt::Install-Recommends "false"' \
	--essential-hook="$manuals" \
	--include="$(IFS=, && echo "${packages[*]}")" '' "$new" "${sources[@]}" >&2
add_java_source
# Where bench/real/enter mounts the rows' scripts.
"${sudo[@]}" mkdir -p "$new/bench"
# The tree's own tool, by the tree's own names: its absolute links must not lead into the host.
"${sudo[@]}" chroot "$new" sh -c 'find . -xdev | LC_ALL=C sort | cpio --quiet -o -H newc' \
	>"$dir/tree.cpio.new"
"${sudo[@]}" rm -rf --one-file-system "$dir/tree"
"${sudo[@]}" mv "$new" "$dir/tree"
mv "$dir/tree.cpio.new" "$dir/tree.cpio"
