#!/bin/sh
# A long mixed load whose output depends on nothing but the work: soak.sh runs it in a guest and on the host, by the
# same busybox, and compares.
#
# usage: soak-load.sh PROGRAMS PERCENT ROUNDS		PROGRAMS: the directory of the benchmarks
programs=$1 percent=$2 rounds=$3
work=$(mktemp -d) || exit 1
cd "$work" || exit 1

numbers()	# COUNT SEED: lines that look random, and are always the same
{
	awk -v n="$1" -v s="$2" 'BEGIN { for (i = 0; i < n; i++) { s = (s * 69069 + 12345) % 4294967296; print s, i } }'
}

pipelines()	# ROUND
{
	numbers 20000 "$1" >numbers
	gzip -c numbers | gunzip -c | sha256sum
	bzip2 -c numbers | bunzip2 -c | cmp - numbers && echo "bzip2 gives back what it took"
	sort -n numbers | uniq | tail -n 5000 | md5sum
	sort -k 2 -r numbers | sed 's/\([0-9]\)\1/<\1>/g' | grep -c '<'
	tr '0-9' 'a-j' <numbers | cut -c 2-5 | sort | uniq -c | sort -rn | head -n 3
	mkdir -p tree/a tree/b
	awk '{ print >("tree/a/part." int((NR - 1) / 2000)) }' numbers
	cp tree/a/* tree/b
	tar -cf - tree | tar -tf - | sort | sha1sum
	cat tree/b/* | cmp - numbers && echo "split and joined"
	i=0
	while [ $i -lt 60 ]; do
		i=$((i + 1))
		expr $i \* $i
	done | awk '{ s += $1 } END { print s }'
	rm -r tree numbers
}

round=0
while [ $round -lt "$rounds" ]; do
	round=$((round + 1))
	echo "round $round"
	# At once: the programs, two groups of pipelines, and a shell that counts.
	for program in "$programs"/*; do
		"$program" -n "$percent" | cut -d ' ' -f 1,2
	done >programs.out 2>&1 &
	(mkdir one && cd one && pipelines $round >../one.out 2>&1; cd .. && rm -r one) &
	(mkdir two && cd two && pipelines $((round + 100)) >../two.out 2>&1; cd .. && rm -r two) &
	i=0
	while [ $i -lt 20000 ]; do
		i=$((i + 1))
	done
	wait
	echo "counted to $i"
	cat programs.out one.out two.out
done
cd / && rm -r "$work"
