# A part of guest-init.sh: what Linux does with a function's vectors and with the port before it. The disk "port" is
# behind a root port.

# --- interrupts move ---

entropy_irq()	# of the entropy device's queue
{
	local device

	device=$(basename "$(readlink -f /sys/bus/virtio/drivers/virtio_rng/virtio*)")
	sed -n "s/^ *\([0-9]*\):.*$device-input/\1/p" /proc/interrupts
}

count()		# IRQ CPU: how many that processor has taken
{
	sed -n "s/^ *$1: *//p" /proc/interrupts | awk -v cpu="$2" '{ print $(cpu + 1) }'
}

# Each read of 64 bytes is a request, and needs its interrupt; one that is lost is waited for without end.
read_entropy()	# READS
{
	[ "$(timeout 60 dd if=/dev/hwrng bs=64 count="$1" iflag=fullblock 2>/dev/null | wc -c)" = $((64 * $1)) ]
}

# The kernel moves a vector as its next interrupt comes: it masks it, writes address and data, and unmasks it.
counts_go_where_asked()	# IRQ
{
	local round cpu other before

	for round in 1 2 3 4 5 6; do
		cpu=$((round % 2)) other=$((1 - round % 2))
		echo $cpu >/proc/irq/$1/smp_affinity_list || return 1
		read_entropy 1 || return 1
		before="$(count "$1" $cpu) $(count "$1" $other)"
		read_entropy 100 || return 1
		set -- "$1" $before
		echo "to CPU $cpu: $(($(count "$1" $cpu) - $2)), to the other $(($(count "$1" $other) - $3))"
		[ $(($(count "$1" $cpu) - $2)) -ge 90 ] || return 1
		[ $(($(count "$1" $other) - $3)) -le 2 ] || return 1
	done
}

# To and fro while requests are in flight, here and at a disk.
none_is_lost()	# IRQ
{
	local name round=0 reader storm first second

	name=$(disk port) || return 1
	first=$(count "$1" 0) second=$(count "$1" 1)
	storm "$name" 3 &
	storm=$!
	read_entropy 8000 &
	reader=$!
	while kill -0 $reader 2>/dev/null; do
		round=$((round + 1))
		echo $((round % 2)) >/proc/irq/$1/smp_affinity_list || return 1
		read -t 0.01 <>/dev/zero
	done
	wait $reader && wait $storm || return 1
	first=$(($(count "$1" 0) - first)) second=$(($(count "$1" 1) - second))
	echo "$round moves, $first and $second interrupts"
	[ $round -ge 10 ] && [ $((first + second)) -ge 7600 ] && [ $first -gt 400 ] && [ $second -gt 400 ]
}

# --- all vectors of a function are masked ---

byte()		# FILE OFFSET
{
	od -A n -t u1 -j "$2" -N 1 "$1" | tr -d ' '
}

# Where the control register of MSI-X has the bits that enable all vectors and mask them.
msix_control()	# FILE: of configuration space
{
	local at

	at=$(byte "$1" 52)
	until [ "$(byte "$1" "$at")" = 17 ]; do
		at=$(byte "$1" $((at + 1)))
		[ "$at" != 0 ] || return 1
	done
	echo $((at + 3))
}

set_byte()	# FILE OFFSET ESCAPE
{
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

disk_interrupts()	# DISK: all there were
{
	local device

	device=$(basename "$(readlink -f "/sys/block/$1/device")")
	grep "$device-req" /proc/interrupts | awk '{ for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }'
}

# While requests are in flight: none comes while they are masked, and those that waited come after it.
masked_ones_wait()	# SERIAL
{
	local name config at storm round before

	name=$(disk "$1")
	config=$(function_of "$1")/config
	at=$(msix_control "$config") || return 1
	guest-disk storm "/dev/$name" 60 4 &
	storm=$!
	for round in 1 2 3 4 5 6 7 8 9 10; do
		set_byte "$config" "$at" '\300'
		sleep 0.02
		before=$(disk_interrupts "$name")
		sleep 0.05
		[ "$(disk_interrupts "$name")" = "$before" ] || return 1
		set_byte "$config" "$at" '\200'
		sleep 0.1
		[ "$(disk_interrupts "$name")" -gt "$before" ] || return 1
	done
	kill $storm
	wait $storm
}

# --- the port ---

function_of()	# SERIAL: the disk's, in /sys
{
	dirname "$(readlink -f "/sys/block/$(disk "$1")/device")"
}

is_behind_port()	# SERIAL
{
	[ "$(cat "$(dirname "$(function_of "$1")")/class")" = 0x060400 ]
}

# The driver lets go while requests are in flight, the link is reset, and the driver takes the function again. (Debian's
# driver does not know of a reset that comes under it: its requests would wait without end.)
hot_reset()	# SERIAL
{
	local function name storm round

	function=$(function_of "$1")
	name=$(basename "$function")
	echo bus >"$function/reset_method" || return 1
	for round in 1 2 3; do
		storm "$(disk "$1")" 20 lost &
		storm=$!
		sleep 0.3
		echo "$name" >/sys/bus/pci/drivers/virtio-pci/unbind || return 1
		wait $storm || return 1
		echo 1 >"$function/reset" || return 1
		echo "$name" >/sys/bus/pci/drivers/virtio-pci/bind || return 1
	done
	storm "$(disk "$1")" 0.3
}

pci()
{
	local irq

	check "a disk is behind a root port" is_behind_port port
	check "the port's link is reset, and the disk is back" hot_reset port
	check "interrupts that are masked while requests are in flight come after it" masked_ones_wait port
	[ "$cpus" -gt 1 ] || return
	irq=$(entropy_irq)
	check "an interrupt goes to the processor that it is sent to" counts_go_where_asked "$irq"
	check "none is lost on the way from one to the other" none_is_lost "$irq"
}
