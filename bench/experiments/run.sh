#!/bin/sh
# Build and run the translator's experiments; see README.md. Tables on standard output.
# usage: run.sh [reach] [branches] [mapping] [registers]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
cc=${CC:-gcc}
asm="-O2 -S -masm=intel -fno-pic -fno-tree-vectorize -mbmi2 -fcf-protection=none -fno-asynchronous-unwind-tables"
main="-O2 -Wall -Wextra -D_GNU_SOURCE -no-pie -fno-pic"

for need in bmi2 fsgsbase; do
	grep -qw $need /proc/cpuinfo || { echo "run.sh: this processor lacks $need" >&2; exit 1; }
done

reach() {
	$cc $asm -ffixed-rcx -ffixed-r10 "$here/kernels.c" -o "$work/kernels.s"
	for variant in $("$here/reach.py" list); do
		python3 "$here/reach.py" "$variant" < "$work/kernels.s" > "$work/reach_$variant.s"
	done
	$cc $main "$here/main_reach.c" "$work"/reach_*.s -o "$work/reach"
	"$work/reach"
}

branches() {
	$cc $main "$here/main_branches.c" "$here/branches.S" -o "$work/branches"
	"$work/branches"
}

mapping() {
	$cc $main -Wno-unused-parameter "$here/mapping.c" -o "$work/mapping"
	"$work/mapping"
}

registers() {
	$cc $asm "$here/registers.c" -o "$work/registers.s"
	for variant in native spilled; do
		python3 "$here/spill.py" $variant < "$work/registers.s" > "$work/registers_$variant.s"
	done
	$cc $main "$here/main_registers.c" "$work"/registers_*.s -o "$work/registers"
	"$work/registers"
}

[ $# -gt 0 ] || set -- reach branches mapping registers
for experiment; do
	case $experiment in
	reach|branches|mapping|registers) printf '\n%s\n\n' "$experiment"; $experiment ;;
	*) echo "run.sh: no experiment \"$experiment\": reach, branches, mapping, registers" >&2; exit 1 ;;
	esac
done
