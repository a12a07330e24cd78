# shellcheck shell=bash
# A Java virtual machine: its start, its interpreter, its compilers and its collector.

work()
{
	java -Xmx256m -cp "$BENCH/build" Run "$(part 20)"
}
