# shellcheck shell=bash
# A compiler: 40 files of this project, one after the other.

work()
{
	local file

	for file in $(find "$BENCH/src/cpu" "$BENCH/src/device" -name '*.c' | sort |
		head -n "$(part 40)"); do
		gcc -std=gnu17 -O2 -fms-extensions -D_GNU_SOURCE "-I$BENCH/src" -c "$file"
	done
}

result()
{
	sha256sum ./*.o
}
