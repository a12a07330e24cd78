# shellcheck shell=bash
# A configure script, made by autoconf: many small processes and compilations of a few lines.

work()
{
	CHECKS=$(part 20) "$BENCH/build/configure" -q --cache-file=cache
	cat Makefile
}

result()
{
	sort cache | grep ^ac_cv
}
