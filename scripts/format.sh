#!/bin/sh
# Lay out every C file as .clang-format says, or only check it.
#
# usage: scripts/format.sh [--check]
#
# clang-format breaks code at 100 columns; it leaves comments alone, since they hold tables. So the
# check also names lines that are longer than that.
set -eu
cd "$(dirname "$0")/.."

files=$(git ls-files '*.c' '*.h' 2>/dev/null || find src tests guests bench -name '*.[ch]')
# shellcheck disable=SC2086 # a list of words
if [ "${1-}" != --check ]; then
	exec clang-format -i $files
fi
status=0
# shellcheck disable=SC2086
clang-format --dry-run -Werror $files || status=1
for file in $files; do
	expand -t 8 "$file" | awk -v file="$file" '
		length > 100 { print file ":" FNR ": longer than 100 columns"; long = 1 }
		END { exit long }' || status=1
done
exit $status
