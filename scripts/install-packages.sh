#!/bin/sh
# Install those of the given Debian packages that are missing. Says which; uses sudo only where it is
# not run by root. Everything it says goes to standard error.
#
# usage: scripts/install-packages.sh PACKAGE...
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

missing=
for package; do
	case $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) in
	installed) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || {
	echo "install-packages.sh: no apt-get here; please install:$missing" >&2
	exit 1
}
sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "install-packages.sh: please run as root: apt-get install$missing" >&2
		exit 1
	}
	sudo="sudo DEBIAN_FRONTEND=noninteractive"
fi

install()
{
	# shellcheck disable=SC2086 # lists of words
	$sudo apt-get -q -y --no-install-recommends install $missing </dev/null >&2
}

echo "installing from Debian's packages:$missing" >&2
# A fresh installation has no package lists, and old lists name packages that have gone.
install || { $sudo apt-get -q update </dev/null >&2 && install; } || {
	echo "install-packages.sh: could not install:$missing" >&2
	exit 1
}
