# shellcheck shell=bash
# A modern compressor, at a high level and back.

prepare()
{
	find /usr/lib/python3*/ -name '*.py' | sort | head -n "$(part 800)" | xargs cat >text
}

work()
{
	zstd -q -9 --single-thread text -o text.zst
	zstd -q -d -c text.zst | cmp - text
}

result()
{
	sha256sum text.zst
}
