# shellcheck shell=bash
# Files: a walk through the tree, names sorted, contents copied.

# A native run reads its files from memory, as a guest does.
prepare()
{
	find /usr -xdev -type f -print0 | xargs -0 cat >/dev/null
}

work()
{
	find /usr -xdev -type f -printf '%s %p\n' | sort -k 2 | tail -n 5
	find /usr -xdev -type l -printf '%l %p\n' | sort | wc
	find /usr -xdev -type f -size -64k -print0 | sort -z | head -z -n "$(part 20000)" |
		xargs -0 cat | wc -c
	find "/usr/lib/x86_64-linux-gnu" /usr/share -type f -print0 | sort -z |
		head -z -n "$(part 20000)" | tar -c --null -T - | cat | wc -c
}
