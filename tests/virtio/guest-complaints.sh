# What the guest's kernel complains about, for the /init scripts here. With all drivers there are for the
# machine: load_drivers asks for them as udev does. "allowed" is what a test causes itself, as an extended
# regular expression.
#
# Debian's kernels have nothing to say at the level of a warning or above when they boot here. Some
# misfortunes are told at lower levels, by these words.
complaint_words="\
quirk|can't|cannot|could not|unable|fail|invalid( |$)|bogus|conflict|no space|\
no compatible|not claimed|not respond|overlap|out of range|timed? ?out|spurious|nobody cared|bug|error|corrupt|\
lockup|stall|call trace|segfault|general protection"

# And these contain such words without a complaint:
#   PCI: "if necessary, use pci=nocrs and report a bug" follows the good news that windows come from ACPI;
#   AMD-Vi: the full kernel looks for an AMD processor's IOMMU everywhere, and says that this "is not a bug";
#   the LPC bridge: the kernel reads from its registers which ports it decodes, and keeps them free, for each ICH;
#   lpc_ich, of the full kernel: the bridge has neither the watchdog nor the pins that this driver looks for;
#   clocksource, hrtimer: on a busy host it may be long from one look at a clock to the next.
complaint_not="PCI: Using host bridge windows from ACPI; if necessary|AMD-Vi: .* - This is not a bug|\
pci 0000:00:1f\.0: quirk: \[io .*\] claimed by ICH6 ACPI/GPIO/TCO|lpc_ich 0000:00:1f\.0: No MFD cells added|\
clocksource: Long readout interval|hrtimer: interrupt took"

load_drivers()
{
	local round aliases

	# Devices that a driver finds behind its own want drivers again.
	for round in 1 2; do
		aliases=$(find /sys/devices -name modalias | while read -r path; do
			cat "$path"
			echo
		done | sort -u)
		for alias in $aliases; do
			modprobe -q "$alias"
		done
	done
}

# Succeeds where there are none; prints what there is. The number of <N> is facility * 8 + level.
no_complaints()
{
	local said

	said=$(dmesg -r | awk -F '[<>]' -v words="$complaint_words" '{
		text = $0
		sub(/^<[0-9]*>\[[^]]*\] /, "", text)
		if ($2 % 8 <= 4 || tolower(text) ~ words)
			print text
	}' | grep -v -E "$complaint_not${allowed:+|$allowed}")
	echo "$said"
	[ -z "$said" ]
}

# The check would see a complaint: told at the level of an information, it is one by its words; at that of
# a warning, whatever it says.
sees_complaints()
{
	echo "<6>pci 0000:00:1f.0: BAR 0: no space for [mem size 0x00100000]" >/dev/kmsg
	! no_complaints >/tmp/complaints || return 1
	echo "<4>something of which nobody has thought" >/dev/kmsg
	no_complaints >/tmp/more
	[ "$(wc -l </tmp/more)" -gt "$(wc -l </tmp/complaints)" ]
}
