# shellcheck shell=bash
# A JavaScript engine with a compiler that makes code while the program runs.

work()
{
	node "$BENCH/rows/node.js" "$(part 20)"
}
