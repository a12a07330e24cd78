# shellcheck shell=bash
# Two compilers at a time, on two processors: the programs of bench/programs, compiled and linked.
# cpus: 2

work()
{
	make -s -j2 -f "$BENCH/rows/make-j2.mk" "COUNT=$(part 27)"
}

result()
{
	sha256sum ./*.o
}
