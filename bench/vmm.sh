# shellcheck shell=bash
# The machines that run.sh and real.sh compare, sourced by common.sh. A column of the table is one
# of them:
#
#   native                 the programs on this machine
#   veneer-ENGINE[@NAME]   veneer with that engine; NAME tells several binaries apart
#   qemu                   QEMU without KVM: its translator, TCG
#   bochs                  Bochs: the interpreter to beat
#
# All get the same number of processors and the same memory. For each there is
#
#   vmm_missing COLUMN                       say why it cannot run here; nothing if it can
#   vmm_label COLUMN                         its heading
#   vmm_version COLUMN                       what exactly was measured
#   vmm_command COLUMN KERNEL INITRD APPEND  set the array `command` to what boots that guest, its
#                                            serial port on standard output, or on $fifo if set
#   vmm_start_command COLUMN KERNEL          set `command` to what runs a kernel that ends itself
#                                            by writing 1 to isa-debug-exit, so with status 3
#
# From common.sh come ${binary[COLUMN]}, the veneer of a column, or $no_veneer, why there is none;
# $work, a directory to write in; $cpus; $memory, in MiB; and sudo, the words to put before a
# command that needs root.
# shellcheck disable=SC2034,SC2154 # they come from there, and command goes there

declare -A binary=()

# The newest of Bochs 2.7's models with AVX2 on which this kernel boots (on `ryzen` it hangs).
readonly bochs_model=broadwell_ult
# How many instructions make a second of the guest's clock: about what Bochs does here, so that
# the guest gets as many timer interrupts as it would in real time. From 15 to 150 million the
# boot takes the same time within 10%.
readonly bochs_ips=70000000

vmm_install()
{
	local tool=$1

	shift
	! command -v "$tool" >/dev/null || return 0
	say "installing $*"
	"${sudo[@]}" apt-get install -q -y --no-install-recommends "$@" >&2
}

vmm_missing()
{
	case $1 in
	veneer-*)
		[[ -z $no_veneer ]] || echo "$no_veneer"
		;;
	qemu)
		vmm_install qemu-system-x86_64 qemu-system-x86 ||
			echo "the package qemu-system-x86 cannot be installed"
		;;
	bochs)
		{ vmm_install bochs-bin bochs bochs-term bochsbios vgabios &&
			vmm_install xorriso xorriso &&
			[[ -f /usr/lib/ISOLINUX/isolinux.bin ]] ||
			vmm_install isolinux isolinux syslinux-common; } ||
			echo "the packages bochs, bochs-term, xorriso or isolinux cannot be installed"
		;;
	esac
}

vmm_label()
{
	case $1 in
	veneer-*) local label=${1/-/ } && echo "${label/@/ }" ;;
	qemu) echo "QEMU TCG" ;;
	bochs) echo "Bochs" ;;
	*) echo "$1" ;;
	esac
}

vmm_version()
{
	case $1 in
	native) "${CC:-cc}" --version | sed -n 1p ;;
	veneer-*) "${binary[$1]}" --version 2>&1 | sed -n 1p ;;
	qemu) qemu-system-x86_64 --version | sed -n 1p ;;
	bochs) bochs-bin --help cpu 2>&1 | sed -n 's/^ *\(Bochs x86 Emulator.*\)/\1/p' ;;
	esac
}

vmm_command()
{
	local column=$1 kernel=$2 initrd=$3 append=$4 engine=${1#veneer-}

	fifo=
	case $column in
	veneer-*)
		command=("${binary[$column]}" run --engine "${engine%@*}" --cpus "$cpus"
			--kernel "$kernel" --initrd "$initrd" --append "$append"
			--memory "${memory}M" --no-reboot)
		;;
	qemu)
		# The memory's backing has a name, by which memory_beyond_ram finds it.
		command=(qemu-system-x86_64 -accel tcg -cpu max -smp "$cpus" -m "${memory}M"
			-object "memory-backend-memfd,id=ram,size=${memory}M"
			-machine memory-backend=ram -nodefaults -display none -monitor none
			-serial stdio -no-reboot
			-kernel "$kernel" -initrd "$initrd" -append "$append")
		;;
	bochs)
		fifo=$work/bochs.serial
		[[ -p $fifo ]] || mkfifo "$fifo"
		bochs_disc "$kernel" "$initrd" "$append"
		bochs_configuration >"$work/bochsrc"
		echo continue >"$work/bochs.debugger"
		command=(env TERM=xterm bochs-bin -q -f "$work/bochsrc" -rc "$work/bochs.debugger")
		;;
	esac
}

vmm_start_command()
{
	local engine

	case $1 in
	veneer-*)
		engine=${1#veneer-}
		command=("${binary[$1]}" run --engine "${engine%@*}" --kernel "$2"
			--memory "${memory}M" --debug-exit 0xf4)
		;;
	qemu)
		command=(qemu-system-x86_64 -accel tcg -cpu max -m "${memory}M" -nodefaults
			-display none -device "isa-debug-exit,iobase=0xf4,iosize=4" -kernel "$2")
		;;
	*) return 1 ;;
	esac
}

# Bochs loads no kernel by itself: give it a disc whose boot loader does. The loader says on the
# serial port what it loads, so the log shows when the kernel's turn came.
bochs_disc()
{
	local kernel=$1 initrd=$2 append=$3 disc=$work/disc

	rm -rf "$disc"
	mkdir -p "$disc/isolinux"
	ln -f "$kernel" "$disc/vmlinuz" 2>/dev/null || cp "$kernel" "$disc/vmlinuz"
	ln -f "$initrd" "$disc/initrd" 2>/dev/null || cp "$initrd" "$disc/initrd"
	cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 \
		"$disc/isolinux"
	cat >"$disc/isolinux/isolinux.cfg" <<-END
		serial 0 115200
		default linux
		label linux
		kernel /vmlinuz
		append initrd=/initrd $append
	END
	xorriso -as mkisofs -quiet -o "$work/disc.iso" -b isolinux/isolinux.bin \
		-c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table "$disc" \
		2>"$work/xorriso.log"
}

# Debian builds Bochs with its debugger, which starts by waiting for a command.
# "sync=none": guest time is instructions, and a halted processor skips to its next timer, so
# Bochs loses no time waiting.
bochs_configuration()
{
	cat <<-END
		config_interface: textconfig
		display_library: term
		romimage: file=/usr/share/bochs/BIOS-bochs-latest
		vgaromimage: file=/usr/share/vgabios/vgabios.bin
		memory: guest=$memory, host=$memory
		cpu: model=$bochs_model, count=1, ips=$bochs_ips
		clock: sync=none
		ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
		boot: cdrom
		com1: enabled=1, mode=file, dev=$fifo
		log: $work/bochs.log
		panic: action=fatal
		error: action=ignore
		info: action=ignore
	END
}
