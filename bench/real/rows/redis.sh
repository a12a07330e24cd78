# shellcheck shell=bash
# A server and its client on one machine: system calls, sockets, context switches.

work()
{
	redis-server --port 6379 --bind 127.0.0.1 --save '' --logfile log &
	until redis-cli ping 2>&1 | grep -q PONG; do
		sleep 0.02
	done
	redis-benchmark -q -c 20 -n "$(part 15000)" -t set,get,incr,lpush,lpop >rates
	redis-benchmark -q -c 20 -P 16 -n "$(part 60000)" -t set,get,zadd >>rates
	redis-cli get counter:__rand_int__
	redis-cli llen mylist
	redis-cli dbsize
	redis-cli shutdown nosave
	wait
}
