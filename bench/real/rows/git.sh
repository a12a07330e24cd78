# shellcheck shell=bash
# A version control system: many small files, hashes, compression, a few processes.

git()
{
	command git -c user.name=bench -c user.email=bench@localhost -c pack.threads=1 \
		-c gc.auto=0 -c init.defaultBranch=main "$@"
}

prepare()
{
	cp -R "$BENCH/src" tree
	find /usr/share/perl/5* -name '*.pm' | sort | head -n "$(part 400)" | xargs cp --parents -t tree
}

work()
{
	local turn date='2020-01-01 00:00:00 +0000'

	export GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date
	cd tree || return
	git init -q
	git add .
	git commit -q -m 'the first'
	for turn in $(seq "$(part 5)"); do
		find . -name "*[$turn].[cph]*" -not -path './.git/*' -exec sed -i "s/int/int$turn/" {} +
		find . -name '*.c' -exec sed -i "1s/^/\/* $turn *\/\n/" {} +
		git commit -q -a -m "turn $turn"
	done
	git gc -q --prune=now
	git log --stat --oneline | tail -n 20
	git fsck
	git rev-parse HEAD
	git blame -s memory/memory.c | tail -n 3
}
