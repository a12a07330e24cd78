#!/bin/bash
# Checks what the command line promises: exit statuses, messages for everything that can be wrong with
# it, and the ends a guest can come to. Speaks TAP.
#
# usage: cli.sh VENEER BUILD-DIR SOURCE-DIR
set -u
export LC_ALL=C

(($# == 3)) || { echo "usage: $0 VENEER BUILD-DIR SOURCE-DIR" >&2; exit 2; }
veneer=$1
kernels=$2/tests/cli
source=$3
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failures=0

result()	# STATUS NAME: 0 is a pass; on a failure shows what the last run said
{
	number=$((number + 1))
	if (($1 == 0)); then
		echo "ok $number - $2"
		return
	fi
	failures=$((failures + 1))
	echo "not ok $number - $2"
	echo "# exit status ${status-none}"
	head -c 2000 "$work/out" "$work/err" | sed 's/^/# /'
}

run()		# ARGUMENTS...: into $work/out, $work/err and $status
{
	timeout -k 5 "${limit:-30}" "$veneer" "$@" >"$work/out" 2>"$work/err" </dev/null
	status=$?
}

guest()		# KERNEL ARGUMENTS...: one of the tiny kernels
{
	local kernel=$1

	shift
	run run --kernel "$kernels/$kernel" --memory 16M "$@"
}

# refused NAME STATUS PATTERN ARGUMENTS...: the status, and one line on stderr that matches
refused()
{
	local name=$1 want=$2 pattern=$3

	shift 3
	run "$@"
	((status == want)) && grep -q -e "$pattern" "$work/err" &&
		(($(wc -l <"$work/err") == 1)) && [[ ! -s $work/out ]]
	result $? "$name"
}

# --- help and version ---

run --help
((status == 0)) && grep -q '^usage: veneer' "$work/out" && [[ ! -s $work/err ]]
result $? "veneer --help"
run --version
((status == 0)) && grep -qx 'veneer [0-9][0-9.]*' "$work/out"
result $? "veneer --version"
run run --help
((status == 0)) && grep -q -e '--kernel FILE' "$work/out" && grep -q '^  interp' "$work/out"
result $? "veneer run --help"
translator=$(grep -o '^  bt ' "$work/out")
run run -h
((status == 0)) && grep -q -e '--kernel FILE' "$work/out"
result $? "veneer run -h"
run
((status == 2)) && grep -q '^usage: veneer' "$work/err"
result $? "veneer alone is a usage error"
timeout 30 "$veneer" --help >/dev/full 2>"$work/err"
(($? == 4))
result $? "a full standard output is noticed"

# Every option of --help is in the manual page, and the other way round.
run run --help
cp "$work/out" "$work/help"
run image --help
cat "$work/out" >>"$work/help"
grep -o -e '^  --[a-z0-9-]*' "$work/help" | tr -d ' ' | sort -u >"$work/help-options"
sed 's/\\-/-/g' "$source/docs/veneer.1" | grep '^\.B.* --\|^\.BR* --' |
	grep -o -e '--[a-z][a-z0-9-]*' | grep -v -x -e '--version' | sort -u >"$work/man-options"
status=0
diff "$work/help-options" "$work/man-options" >"$work/err" && (($(wc -l <"$work/help-options") > 8))
result $? "--help and the manual page list the same options"
if command -v man >/dev/null && command -v groff >/dev/null; then
	man --warnings -E UTF-8 -l -Tutf8 -Z "$source/docs/veneer.1" >/dev/null 2>"$work/err"
	[[ ! -s $work/err ]]
	result $? "the manual page formats without warnings"
fi

# --- wrong usage ---

image=$kernels/exit
truncate -s 64K "$work/rom"
refused "unknown subcommand" 2 "unknown subcommand 'fly'" fly
refused "unknown global option" 2 'unknown option --fly' --fly
refused "unknown option" 2 'option --fly' run --fly
refused "unknown short option" 2 'option -z' run -z
refused "two disks to boot from" 2 "two disks to boot from, 'a' and 'b'" run a b
refused "a disk that is not there" 4 'nothing-there: cannot open' run nothing-there
refused "a disk at a bus that there is not" 2 'bus=usb: expected virtio' run --kernel "$image" \
	--disk "$image,bus=usb"
refused "a CD-ROM that can be written" 2 'a CD-ROM is read-only' run --kernel "$image" --cdrom "$image,snapshot"
refused "a CD-ROM at an NVMe controller" 2 'at bus=ide, ahci or scsi' run --kernel "$image" --cdrom "$image,bus=nvme"
refused "an AHCI disk behind a port" 2 'port is for bus=virtio and bus=nvme' run --kernel "$image" \
	--disk "$image,bus=ahci,port"
truncate -s 1M "$work/image"
refused "more IDE disks than there is room for" 4 'room for 4' run --kernel "$image" --cdrom "$work/image" \
	--disk "$work/image,bus=ide,readonly" --disk "$work/image,bus=ide,readonly" \
	--disk "$work/image,bus=ide,readonly" --disk "$work/image,bus=ide,readonly"
refused "a floppy of a size that there is not" 4 'expected 160, 180' run --kernel "$image" --floppy "$work/image"
refused "three floppies" 2 'at most 2 floppies' run --kernel "$image" --floppy a --floppy b --floppy c
run run "nbd+unix:///?socket=none"
((status == 4)) && grep -q 'socket=none: cannot boot from it' "$work/err" && [[ ! -s $work/out ]]
result $? "a disk of a server that is not there"
kernel=(--kernel "$kernels/exit" --memory 16M)
refused "a disk's reconnect" 2 '--disk reconnect= x: expected a number of seconds' run "${kernel[@]}" --disk a,reconnect=x
refused "a disk's format" 2 '--disk format=../a: expected a format' run "${kernel[@]}" --disk a,format=../a
refused "a network's words" 2 "'bootfile=': expected bootfile=NAME" run "${kernel[@]}" --net user,bootfile=
refused "a network's name" 2 "--net hostname=a b: expected up to 32" run "${kernel[@]}" --net 'user,hostname=a b'
refused "a network's directory that is not there" 4 '--net user: tftp=/nothing: No such file.*expected a directory' \
	run "${kernel[@]}" --net user,tftp=/nothing
refused "a share that is not there" 4 '--share /nothing: No such file or directory; expected a directory' \
	run "${kernel[@]}" --share /nothing
refused "a share without a name" 2 '--share ,readonly: expected a directory' run "${kernel[@]}" --share ,readonly
refused "a share's words" 2 "--share: unknown word 'rw'; there are: tag=T, readonly, sync, security=MODEL" \
	run "${kernel[@]}" --share "$work,rw"
refused "a share's model" 2 '--share security=frob: expected none, passthrough or mapped-xattr' \
	run "${kernel[@]}" --share "$work,security=frob"
refused "a share's tag" 2 '--share tag=x\{33\}: expected 1 to 32 bytes' \
	run "${kernel[@]}" --share "$work,tag=$(printf 'x%.0s' {1..33})"
refused "two shares of one tag" 2 '--share .*: another share has the tag t; expected tag=T, with another T' \
	run "${kernel[@]}" --share "$work,tag=t" --share "$work,tag=t"
refused "nine shares" 2 '--share /tmp: expected at most 8 shares' \
	run "${kernel[@]}" --share{,,,,,,,,}=/tmp

refused "gdb at no address" 2 "--gdb 1234: expected tcp:HOST:PORT" run "${kernel[@]}" --gdb 1234
refused "gdb at no port" 2 "--gdb tcp::65536: expected tcp:HOST:PORT" run "${kernel[@]}" --gdb tcp::65536
refused "gdb at a host's name" 2 "--gdb tcp:example.org:1: expected tcp:HOST:PORT" run "${kernel[@]}" --gdb tcp:example.org:1
refused "gdb's words" 2 "--gdb: unknown word 'run'" run "${kernel[@]}" --gdb tcp::1234,run
refused "gdb at a file" 4 '--gdb /dev/null: the file is there' run "${kernel[@]}" --gdb unix:/dev/null
refused "image without a name" 2 'the name of the FILE to make is missing' image
refused "image over a file" 2 'the file exists already' image "$image"
refused "image of no size" 2 '--size 1M: expected a size from 1G' image new.img --size 1M
refused "image of no release" 2 '--suite a b: expected a release' image new.img --suite 'a b'
refused "image with packages that are options" 2 '--packages --help: expected names' \
	image new.img --packages --help
refused "image with a key that is none" 2 'expected a file with a public key' \
	image new.img --ssh-key "$image"
refused "image from nowhere" 2 '--mirror x: expected a URL' image new.img --mirror x
refused "names that the machine cannot bear" 2 'no such field' run --kernel "$image" \
	--smbios type=1,colour=red
refused "a seed of nothing" 2 '--cloud-init nothing-there: expected a directory' run \
	--kernel "$image" --cloud-init nothing-there
refused "a kernel and firmware" 2 '--firmware x: a kernel that is given is booted without' run \
	--kernel "$image" --firmware x
refused "a log of firmware that there is not" 4 '--firmware-log x: expected no --kernel, or one' run \
	--kernel "$image" --firmware-log x
refused "an order of what there is not" 2 '--boot order=cx: expected letters' run --boot order=cx
refused "a menu that is half on" 2 '--boot menu=half: expected on or off' run --boot menu=half
refused "an option ROM that is not there" 4 "Debian's package ipxe-qemu to be installed" run \
	--firmware "$work/rom" --option-rom /usr/lib/ipxe/none.rom
refused "firmware that is not there" 4 "Debian's package seabios to be installed" run \
	--firmware /usr/share/seabios/none.bin
refused "firmware of an odd size" 4 'expected a ROM of whole 64 KiB' run --firmware "$image"
refused "variables of firmware that has none" 4 '--firmware-vars x: expected --firmware FILE with EFI' run \
	--firmware "$work/rom" --firmware-vars x
refused "variables without firmware" 4 '--firmware-vars x: expected --firmware FILE with EFI' run \
	--kernel "$image" --firmware-vars x
printf '%40s_FVH%65492s' '' '' >"$work/efi-CODE.fd"
refused "EFI firmware without its template" 4 'the variables of --firmware .*/efi-VARS.fd: cannot open' run \
	--firmware "$work/efi-CODE.fd"
refused "variables that are none" 4 "--firmware-vars $image: .*expected EFI variables" run \
	--firmware "$work/efi-CODE.fd" --firmware-vars "$image"
cp "$work/efi-CODE.fd" "$work/efi.fd"
refused "EFI firmware whose template has no name" 4 'expected --firmware-vars FILE, a copy of it' run \
	--firmware "$work/efi.fd"
cp "$work/efi-CODE.fd" "$work/efi-CODE.secboot.fd"
refused "firmware with Secure Boot" 4 'needs system management mode' run \
	--firmware "$work/efi-CODE.secboot.fd"
refused "firmware's log cannot be made" 4 '--firmware-log .*/none/log: cannot write' run \
	--firmware "$work/rom" --firmware-log "$work/none/log"
refused "a display of no kind" 2 "--display: unknown word 'sdl'; there are: none, text, vnc=ADDR" \
	run --kernel "$image" --display sdl
refused "a VNC server nowhere" 2 '--display vnc=5: expected HOST:N' run --kernel "$image" --display vnc=5
refused "a text screen on no terminal" 2 '--display text: expected a terminal' run --kernel "$image" \
	--display text
refused "a picture of no machine" 2 'screenshot: expected SOCKET and FILE' screenshot
refused "option without its argument" 2 '--kernel needs an argument' run --kernel
refused "argument for a flag" 2 '--stats=json takes no argument' run --kernel "$image" --stats=json
for size in '' 0 -1 abc 12Q 1.5G 512 1K 99999999T 5000000000000000000000; do
	refused "--memory '$size'" 2 "--memory $size: expected a size" \
		run --kernel "$image" --memory "$size"
done
refused "--memory not in pages" 2 'expected a multiple of 4K' run --kernel "$image" --memory 20000001
for cpus in '' 0 -1 65 4096 two 1.5; do
	refused "--cpus '$cpus'" 2 "--cpus $cpus: expected a number of processors from 1 to 64" \
		run --kernel "$image" --cpus "$cpus"
done
for port in '' 0 0x10000 -1 0xfffd f4 0x; do
	refused "--debug-exit '$port'" 2 "--debug-exit $port: expected an I/O port" \
		run --kernel "$image" --debug-exit "$port"
done
refused "unknown CPU model" 2 "--cpu Pentium9: no model 'Pentium9'; there are: host x86-64-v2" \
	run --kernel "$image" --cpu Pentium9
refused "unknown CPU feature" 2 "--cpu host,+avx3: no feature 'avx3'; there are: pni" \
	run --kernel "$image" --cpu host,+avx3
for cpu in '' host, host,avx host,-sse2; do
	refused "--cpu '$cpu'" 2 "--cpu $cpu: " run --kernel "$image" --cpu "$cpu"
done
refused "a CPU feature that the engine cannot serve" 4 '+la57: this engine cannot serve it' \
	run --kernel "$kernels/halt" --engine bt --cpu host,+la57
guest exit --debug-exit 0xf4 --cpu x86-64-v2,-pcid
status_v2=$status
guest exit --debug-exit 0xf4
((status == status_v2 && status % 2 == 1))
result $? "a guest with --cpu x86-64-v2,-pcid"
refused "unknown engine" 2 '--engine warp: no such engine' run --kernel "$image" --engine warp
for option in --hardened --shadow=traced --verify --trace-bt=/dev/null --bt-test=hot; do
	refused "${option%=*} for the interpreter" 2 \
		"^[^ ]* *${option%=*}: engine interp does not translate code; expected --engine bt" \
		run --kernel "$image" --engine interp "$option"
done
refused "--verify with two processors" 2 '--verify: cannot compare with --cpus 2; expected --cpus 1' \
	run --kernel "$image" --engine bt --verify --cpus 2
for words in '' hot, ,hot no-sse bmi2; do
	refused "--bt-test '$words'" 2 "--bt-test $words: expected words of hot, predict, no-bmi2, no-fsgsbase, no-avx, no-avx512, no-homes, no-room," \
		run --kernel "$image" --engine bt --bt-test "$words"
done
refused "--console of another kind" 2 '--console hvc: expected serial or virtio' \
	run --kernel "$image" --console hvc
refused "--shadow of another kind" 2 '--shadow seen: expected hidden or traced' \
	run --kernel "$image" --engine bt --shadow seen
refused "--trace-bt without its file" 2 '--trace-bt needs an argument' run --kernel "$image" --trace-bt

# --- files that cannot be what they should be ---

: >"$work/empty"
head -c 100000 /dev/zero >"$work/zeros"
head -c 4096 "$kernels/exit" >"$work/kernel"
printf '\037\213\010\0' >"$work/gzip"
head -c 2000 /dev/zero >>"$work/gzip"
{ head -c 56 /dev/zero; printf 'ARMd'; head -c 4000 /dev/zero; } >"$work/arm64"
{ printf '\177ELF\002\001\001'; head -c 9 /dev/zero; printf '\002\000\267\000'; head -c 4000 /dev/zero; } \
	>"$work/elf-arm64"
mkfifo "$work/fifo"
touch "$work/secret"

refused "kernel missing" 4 '--kernel .*/none: cannot open: No such file' run --kernel "$work/none"
refused "kernel is a directory" 4 'is a directory; expected a regular file' run --kernel "$work"
refused "kernel is a FIFO" 4 'not a regular file; expected a regular file' run --kernel "$work/fifo"
refused "kernel is a device" 4 'not a regular file' run --kernel /dev/zero
refused "kernel is empty" 4 'the file is empty' run --kernel "$work/empty"
refused "kernel is all zeros" 4 'not a kernel veneer knows' run --kernel "$work/zeros"
refused "kernel is text" 4 'not a kernel veneer knows' run --kernel "$0"
refused "kernel is gzip" 4 'gzip-compressed' run --kernel "$work/gzip"
refused "kernel for arm64" 4 'kernel for arm64; expected one for x86' run --kernel "$work/arm64"
refused "ELF for arm64" 4 'ELF file for arm64 .*; expected x86-64 or i386' run --kernel "$work/elf-arm64"
refused "kernel is a program" 4 'position-independent or shared ELF file' run --kernel "$veneer"
refused "initrd missing" 4 '--initrd .*/none: cannot open' run --kernel "$image" --initrd "$work/none"
refused "initrd is empty" 4 '--initrd .*/empty: the file is empty' \
	run --kernel "$image" --initrd "$work/empty"
head -c 20M /dev/zero >"$work/large"
refused "initrd larger than memory" 4 'needs at least --memory 22M for it and its initrd; there is 16M' \
	run --kernel "$image" --memory 16M --initrd "$work/large"
refused "serial2 file cannot be made" 4 '--serial2 .*/none/log: cannot write: No such file' \
	run --kernel "$image" --serial2 "$work/none/log"
refused "parallel file cannot be made" 4 '--parallel .*/none/log: cannot write: No such file' \
	run --kernel "$image" --parallel "$work/none/log"
if [[ -n $translator ]]; then
	refused "--trace-bt file cannot be made" 4 '--trace-bt .*/none/trace: cannot write: No such file' \
		run --kernel "$image" --engine bt --trace-bt "$work/none/trace"
	echo "another's" >"$work/busy"
	exec 8<"$work/busy"
	flock 8
	refused "--trace-bt file that another process writes" 4 '--trace-bt .*/busy: cannot write: Device or resource busy' \
		run --kernel "$image" --engine bt --trace-bt "$work/busy"
	exec 8<&-
	[[ $(<"$work/busy") == "another's" ]]
	result $? "and it keeps what it holds"
fi
refused "command line too long" 4 '--append: .* characters; this kernel takes at most' \
	run --kernel "$image" --append "$(head -c 70000 /dev/zero | tr '\0' a)"
if (($(id -u) != 0)); then
	chmod 0 "$work/secret"
	refused "kernel not readable" 4 'cannot open: Permission denied' run --kernel "$work/secret"
fi

linux=$source/.cache/guest/vmlinuz
if [[ -s $linux ]]; then
	for size in 1 600 5000 1000000; do
		head -c $size "$linux" >"$work/short"
		refused "Linux truncated to $size bytes" 4 'truncated' run --kernel "$work/short"
	done
	refused "memory too small for Linux" 4 'needs at least --memory [0-9]*M; there is 16M' \
		run --kernel "$linux" --memory 16M
	enough=$(sed -n 's/.*needs at least --memory \([0-9]*\)M;.*/\1/p' "$work/err")
	refused "memory too small for Linux and its initrd" 4 \
		"needs at least --memory [0-9]*M for it and its initrd; there is ${enough:=0}M" \
		run --kernel "$linux" --memory "${enough}M" --initrd "$linux"
fi

# A sanitizer does not start in so little.
if (ulimit -v 4000000 && "$veneer" --version) >/dev/null 2>&1; then
	status=$(ulimit -v 4000000; "$veneer" run --kernel "$image" --memory 900G 2>"$work/err" >"$work/out"
		echo $?)
	((status == 4)) && (($(wc -l <"$work/err") == 1)) && grep -q ' 921600 MiB of guest memory' "$work/err"
	result $? "more memory than the host gives is refused in one line"
fi

# --- QEMU's options ---

refused "an option that QEMU has not" 1 "-frobnicate: invalid option" qemu -frobnicate
refused "a device that is not there" 1 "-device frob: not a device of this machine" qemu -device frob
refused "a word that a device has not" 1 "-device VGA: there is no property 'frob'" \
	qemu -device VGA,frob=1
refused "-machine microvm" 1 "-machine microvm: its devices are at virtio-mmio" qemu -M microvm
refused "a kernel that is not there" 1 "could not open kernel '/nobody'" qemu -kernel /nobody
run qemu -version
((status == 0)) && grep -q '^QEMU emulator version 7\.2\.0 (veneer ' "$work/out"
result $? "veneer qemu -version"
run qemu -device help
((status == 0)) && grep -q '^name "virtio-blk-pci", bus PCI' "$work/out"
result $? "veneer qemu -device help"
run qemu -cpu help
((status == 0)) && grep -q '^x86 Haswell' "$work/out" && grep -q ' avx2 ' "$work/out"
result $? "veneer qemu -cpu help"
printf 'info status\nquit\n' | timeout -k 5 30 "$veneer" qemu -nodefaults -display none -S -m 16 -monitor stdio \
	>"$work/out" 2>"$work/err"
status=$?
((status == 0)) && grep -q '^(qemu) VM status: paused (prelaunch)' "$work/out"
result $? "veneer qemu -monitor stdio"
# A process that has gone on in the background is there when the one that was started has ended. (-accel kvm is the engine that
# this host and build have, without a warning.)
run qemu -accel kvm -nodefaults -display none -S -m 16 -daemonize -pidfile "$work/pid" -qmp "unix:$work/qmp,server=on,wait=off"
((status == 0)) && [[ ! -s $work/err ]] && kill -0 "$(<"$work/pid")" && "$veneer" status "$work/qmp" | grep -qx prelaunch &&
	"$veneer" quit "$work/qmp"
result $? "veneer qemu -daemonize"
[[ -S $work/qmp ]] && kill "$(<"$work/pid")"
refused "a daemon that cannot start" 1 "-add-fd fd=99: there is no such descriptor" qemu -daemonize -add-fd set=0,fd=99
refused "a daemon whose monitor cannot listen" 1 "-qmp $work/nobody/s: cannot make the socket" qemu -accel kvm -nodefaults \
	-display none -daemonize -S -qmp "unix:$work/nobody/s,server=on"
refused "a monitor whose server is not there" 1 "-chardev /nowhere: cannot connect" qemu -accel kvm -nodefaults -display none -qmp unix:/nowhere
ln -s "$(realpath "$veneer")" "$work/qemu-system-x86_64"
limit=30 veneer=$work/qemu-system-x86_64 run -nodefaults -m 16 -kernel "$kernels/exit" \
	-device isa-debug-exit,iobase=0xf4,iosize=0x4 -serial stdio -display none
guest_status=$status
guest exit --debug-exit 0xf4
((guest_status == status)) && ((status % 2 == 1))
result $? "by the name of QEMU, a guest ends with isa-debug-exit"

# --- the ends a guest comes to ---

guest power-off
((status == 0)) && [[ $(cat "$work/out") == "going down" && ! -s $work/err ]]
result $? "power-off: status 0, and the console's last line is there"
guest exit --debug-exit 0xf4
((status == (42 << 1 | 1)))
result $? "debug exit: status (42 << 1) | 1"
limit=3 guest exit
((status == 124))
result $? "no --debug-exit: the port does nothing"
guest triple-fault
((status == 6)) && grep -q 'triple fault on vCPU 0' "$work/err" &&
	grep -q 'RAX 0000000012345678' "$work/err"
result $? "triple fault: status 6 and a register dump"
guest reset --append kbd --debug-exit 0xf4
((status == (7 << 1 | 1)))
result $? "reset by the keyboard controller starts it again, in cleared memory, of which no code is kept"
guest reset --append cf9c --debug-exit 0xf4
((status == (7 << 1 | 1)))
result $? "reset by port 0xcf9 starts it again"
guest reset --append kbd --debug-exit 0xf4 --no-reboot
((status == 0))
result $? "reset with --no-reboot: status 0"
guest wild --debug-exit 0xf4
((status == (1 << 1 | 1)))
result $? "a guest that touches all memory and ports that are not there"
guest exit --debug-exit 0xf4 --stats
((status == (42 << 1 | 1))) && grep -q '^instructions  *[1-9]' "$work/err" &&
	grep -q '^exits: port I/O  *[1-9]' "$work/err"
result $? "--stats prints counters"
if [[ -n $translator ]]; then
	for option in --hardened --verify --trace-bt="$work/trace" --stats; do
		guest exit --debug-exit 0xf4 --engine bt "$option"
		((status == (42 << 1 | 1)))
		result $? "${option%%=*} with --engine bt"
	done
	[[ -e $work/trace ]]
	result $? "--trace-bt makes its file"
	run run --kernel "$kernels/../../guests/kernels/isprime" --memory 64M --debug-exit 0xf4 --engine bt \
		--trace-bt "$work/isprime"
fi
# In a sanitizer's address space there is no room for translations.
if [[ -n $translator ]] && ! grep -q 'only interprets' "$work/err"; then
	# The division, and below it its translation: the guest's RCX is in R11.
	((status == 1)) && grep -q '^unit 0x[0-9a-f]*, vCPU 0, kernel' "$work/isprime" &&
		grep -A1 '^0x.*f7 f9  *idiv ecx$' "$work/isprime" | grep -q $'^\t+[0-9a-f]*\tidiv r11d$' &&
		grep -q '; exit [0-9]*: continuation: branch to 0x' "$work/isprime" &&
		grep -q $' ret\t; control transfer' "$work/isprime" &&
		! grep -q 'not decodable' "$work/isprime"
	result $? "--trace-bt shows a loop and its translation"

	guest exit --debug-exit 0xf4 --engine bt --stats --bt-test no-bmi2,no-fsgsbase
	grep -q '^address arithmetic  *without BMI2' "$work/err" && grep -q '^windows by GS base  *none' "$work/err"
	result $? "--stats says what the translator does without"

	# How many accesses follow a jump that decides which address they have? After one, neither a constant slot's
	# delta nor a soft TLB's addend may be added to an address as it is.
	predicted='/\tmov rcx, \[delta\.[a-z]*\[0x/ && before ~ /\tjmp \+/ { n++ }
		/\tmov rcx, \[soft_tlb\.[a-z_]*\.addend\[/ { addend = NR }
		/^\t\+/ { if (addend == NR - 1 && $0 !~ /\tpext r10, r10, \[bt\.mask_offset\]$/) n++; before = $0 }
		/^0x/ { before = "" }
		/^\t\+.*gs:/ { n++ }
		END { print n + 0 }'
	for option in --hardened ''; do
		run run --kernel "$kernels/../../guests/kernels/wild" --memory 64M --debug-exit 0xf4 --engine bt \
			--trace-bt "$work/predicted$option" $option
		((status == 1))
		result $? "wild addresses, traced ${option}"
	done
	[[ $(awk "$predicted" "$work/predicted--hardened") == 0 && $(awk "$predicted" "$work/predicted") != 0 ]]
	result $? "--hardened has no access that a misprediction could lead astray"
fi

# --- signals and slow readers ---

signalled()	# SIGNAL KERNEL
{
	local pid tenths

	"$veneer" run --kernel "$kernels/$2" --memory 16M >"$work/out" 2>"$work/err" </dev/null &
	pid=$!
	sleep 1
	kill -s "$1" $pid
	# One that does not end would be waited for without end.
	for ((tenths = 10 * ${limit:-30}; tenths > 0; tenths--)); do
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL $pid 2>/dev/null
	wait $pid 2>/dev/null
	status=$?
}

# SIGINT is terminal.py's to test: a background job of this shell is started with it ignored.
for signal in TERM HUP; do
	signalled $signal spin
	((status == 128 + $(kill -l $signal)))
	result $? "SIG$signal stops a guest that spins with interrupts off"
done
# Most of the time this machine is between two resets; wherever it is, the signal counts.
for ((i = 0; i < 4; i++)); do
	limit=10 signalled TERM reset-loop
	((status == 128 + 15)) && [[ $(head -c 2 "$work/out") == rr ]]
	result $? "SIGTERM stops a guest that does nothing but reset the machine, try $((i + 1))"
done
signalled TERM halt
((status == 128 + 15))
result $? "SIGTERM stops a halted guest"

mkfifo "$work/pipe"
"$veneer" run --kernel "$kernels/flood" --memory 16M >"$work/pipe" 2>"$work/err" </dev/null &
exec 3<"$work/pipe"
sleep 1
kill -TERM $!
wait $! 2>/dev/null
status=$?
head -c 10 <&3 >"$work/out"
exec 3<&-
((status == 128 + 15)) && [[ $(cat "$work/out") == xxxxxxxxxx ]]
result $? "SIGTERM stops a guest whose output nobody reads"

timeout 30 "$veneer" run --kernel "$kernels/echo" --memory 16M <<<"hello, worldq" \
	>"$work/out" 2>"$work/err"
status=$?
((status == 0)) && [[ $(cat "$work/out") == "hello, worldq" ]]
result $? "standard input reaches the guest"
timeout 30 "$veneer" run --kernel "$kernels/power-off" --memory 16M <&- >"$work/out" 2>"$work/err"
status=$?
((status == 0)) && [[ $(cat "$work/out") == "going down" ]]
result $? "standard input may be closed"
timeout 30 "$veneer" run --kernel "$kernels/power-off" --memory 16M </dev/null >&- 2>"$work/err"
status=$?
((status == 0))
result $? "standard output may be closed"

echo "1..$number"
((failures == 0))
