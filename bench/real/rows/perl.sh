# shellcheck shell=bash
# An interpreter of text: regular expressions, hashes, lists.

work()
{
	perl "$BENCH/rows/perl.pl" "$(part 40)"
}
