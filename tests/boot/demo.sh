#!/bin/bash
# Checks what demo.sh promises for commands: their output and nothing else, their exit status, their
# words and their input unchanged, and no need for a terminal. Speaks TAP.
#
# usage: demo.sh SOURCE-DIR
set -u
export LC_ALL=C

(($# == 1)) || { echo "usage: $0 SOURCE-DIR" >&2; exit 2; }
demo=$1/demo.sh
work=$(mktemp -d) || exit 2
: >"$work/out"
trap 'rm -rf "$work"' EXIT
number=0
failures=0

result()	# STATUS NAME
{
	number=$((number + 1))
	if (($1 == 0)); then
		echo "ok $number - $2"
	else
		failures=$((failures + 1))
		echo "not ok $number - $2"
		echo "# exit status $status"
		head -c 2000 "$work/out" "$work/err" | sed 's/^/# /'
	fi
}

run()		# WORDS of demo.sh; standard input is the caller's
{
	timeout -k 5 180 "$demo" "$@" >"$work/out" 2>"$work/err"
	status=$?
}

printf '%s\n' 'a b' "it's" '$HOME' '*' '' '\' '"' $'two\nlines' >"$work/expected"
run -- printf '%s\n' 'a b' "it's" '$HOME' '*' '' '\' '"' $'two\nlines' </dev/null
((status == 0)) && cmp -s "$work/out" "$work/expected"
result $? "a command's words arrive as they are, and its output is all there is"
run -- sh -c 'exit 7' </dev/null
((status == 7)) && [[ ! -s $work/out ]]
result $? "a command's exit status"
head -c 300000 /dev/urandom >"$work/random"
run --cpus 2 -- sh -c 'cat; kill -9 $$' <"$work/random"
((status == 137)) && cmp -s "$work/out" "$work/random"
result $? "a file as input, byte for byte, there and back; death by a signal"
printf 'one\ntwo' >"$work/expected"
run -- cat < <(cat "$work/expected")
((status == 0)) && cmp -s "$work/out" "$work/expected"
result $? "a pipe as input, which ends"
run -- uname -r < <(exec sleep 170)
((status == 0)) && grep -q 'cloud-amd64' "$work/out"
result $? "a pipe as input that nobody writes to"
printf 'echo $((6 * 7))\nexit\n' >"$work/commands"
# The guest drops what is typed before its kernel has the port open.
run < <(until grep -q '/root #' "$work/out"; do sleep 0.2; done; cat "$work/commands")
((status == 0)) && grep -q '^42' "$work/out" && grep -q 'This is Linux' "$work/out"
result $? "the interactive shell, from a pipe"
run --fly
((status == 125)) && grep -q "unknown argument '--fly'" "$work/err"
result $? "an unknown argument"
echo "1..$number"
((failures == 0))
