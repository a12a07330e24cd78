# shellcheck shell=bash
# A loop of small commands: processes that start, do little and end.

work()
{
	sh -c '
		i=0
		while [ $i -lt "$1" ]; do
			i=$(expr $i + 1)
			word=$(echo "turn-$i" | sed "s/\([0-9]\)/<\1>/g")
			case $word in
			*"<7>") echo "$word" | tr a-z A-Z | cut -c 2- ;;
			*) printf "%s %d\n" "$word" "$(expr $i \* $i % 97)" ;;
			esac
		done
	' sh "$(part 300)"
}
