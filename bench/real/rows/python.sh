# shellcheck shell=bash
# An interpreter of dictionaries, strings and objects.

work()
{
	python3 "$BENCH/rows/python.py" "$(part 6)"
}
