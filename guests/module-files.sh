#!/bin/sh
# The files of kernel modules and of all modules that they need, in the order to load them.
#
#   guests/module-files.sh DIR NAME...
#
# DIR is a kernel's directory below lib/modules, with a modules.dep. Prints paths relative to it. A name
# that is not there is left out: the kernel may have it built in.
set -eu
export LC_ALL=C

dir=$1
shift
awk -v "names=$*" '
function plain(path) # what modprobe calls it
{
	sub(/.*\//, "", path)
	sub(/\.ko(\.[a-z]*)?$/, "", path)
	gsub(/-/, "_", path)
	return path
}
function need(path, words, count, i)
{
	if (path in done)
		return
	done[path] = 1
	count = split(needs[path], words, " ")
	for (i = 1; i <= count; i++)
		need(words[i])
	print path
}
{
	path = $1
	sub(/:$/, "", path)
	file[plain(path)] = path
	$1 = ""
	needs[path] = $0
}
END {
	count = split(names, wanted, " ")
	for (i = 1; i <= count; i++)
		if (plain(wanted[i]) in file)
			need(file[plain(wanted[i])])
}' "$dir/modules.dep"
