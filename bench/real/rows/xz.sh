# shellcheck shell=bash
# An LZMA compressor at its fastest, and back.

prepare()
{
	find /usr/lib/python3*/ -name '*.py' | sort | head -n "$(part 400)" | xargs cat >text
}

work()
{
	xz -k -1 -T1 text
	xz -d -c text.xz | cmp - text
}

result()
{
	sha256sum text.xz
}
