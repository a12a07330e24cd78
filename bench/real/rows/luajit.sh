# shellcheck shell=bash
# A compiler of traces: LuaJIT.

work()
{
	luajit "$BENCH/rows/luajit.lua" "$(part 30)"
}
