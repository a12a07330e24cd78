/*
 * The PCI bus from inside: both ways to configuration space, BARs that are sized, moved, and put
 * where something else is, masked and pending vectors, the interrupt pin, doorbells, resets; a
 * function behind a root port; and two CPUs that do these things at once. The functions under test
 * are veneer's device/pci_testdev.h (--pc-testdev), which explains the registers.
 */
#include "smp.h"

#define ECAM_BASE  0xe0000000u
#define TESTDEV_ID 0x7e571b36u
#define INTX_GSI   16

/* Configuration space. */
#define COMMAND        0x04
#define COMMAND_IO     1u
#define COMMAND_MEMORY 2u
#define COMMAND_MASTER 4u
#define COMMAND_NO_PIN (1u << 10)
#define COMMAND_ALL    (COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER)
#define STATUS         0x06
#define STATUS_PIN     8u
#define HEADER_TYPE    0x0c /* bit 16: a bridge's, with two BARs */
#define BAR(n)         (0x10u + 4 * (n))
#define BUS_NUMBERS    0x18
#define MEMORY_WINDOW  0x20
#define BRIDGE_CONTROL 0x3e
#define BUS_RESET      0x40
#define CAPABILITIES   0x34
#define CAP_POWER      1
#define CAP_EXPRESS    16
#define CAP_MSIX       17
#define MSIX_ENABLE    (1u << 15)
#define MSIX_MASK_ALL  (1u << 14)

/* The test function's registers. */
#define LATCH    0x00
#define NOTIFY   0x04
#define PIN      0x08
#define RESETS   0x0c
#define RINGS    0x10
#define ADDRESS  0x18
#define DMA      0x20
#define DOORBELL 0x800

/* Places for its BARs that firmware has not given away. */
#define REGISTERS 0xd8000000u
#define ELSEWHERE 0xd8100000u
#define TABLE     0xd8200000u
#define WIDE      0xd8300000u
#define PORTS     0xe000u
#define PENDING   (TABLE + 0x800)

#define VECTOR       0x51 /* and the next ones, for MSI-X 1 and on */
#define PIN_VECTOR   0x61
#define TIMER_VECTOR 0x71

static u32 slot, port; /* of the test function; of the port with another one behind it */
static volatile u32 taken[256];

static void take(struct trap_frame *f)
{
	taken[(u8)f->vector]++;
	apic_eoi();
}

static void window(void)
{
	asm volatile("sti; nop; nop; nop; nop; cli" : : : "memory");
}

static u32 read32(u32 address)
{
	return *(volatile u32 *)(ulong)address;
}

static void write32(u32 address, u32 value)
{
	*(volatile u32 *)(ulong)address = value;
}

static u32 ecam(u32 in_slot, u32 offset)
{
	return ECAM_BASE + (in_slot << 15) + offset;
}

static u32 config32(u32 offset)
{
	return read32(ecam(slot, offset));
}

static u16 config16(u32 offset)
{
	return *(volatile u16 *)(ulong)ecam(slot, offset);
}

static void set_config32(u32 offset, u32 value)
{
	write32(ecam(slot, offset), value);
}

static void set_config16(u32 offset, u16 value)
{
	*(volatile u16 *)(ulong)ecam(slot, offset) = value;
}

static u32 by_ports(u32 in_slot, u32 offset)
{
	outl(0xcf8, 0x80000000 | in_slot << 11 | (offset & 0xfc));
	return inl(0xcfc);
}

static u32 capability(u8 id)
{
	u32 at = config32(CAPABILITIES) & 0xff;

	for (int i = 0; at && i < 48; i++, at = config32(at) >> 8 & 0xff)
		if ((config32(at) & 0xff) == id)
			return at;
	return 0;
}

static void place_bars(void)
{
	set_config32(BAR(0), REGISTERS);
	set_config32(BAR(1), PORTS);
	set_config32(BAR(2), WIDE);
	set_config32(BAR(3), 0);
	set_config32(BAR(4), TABLE);
	set_config16(COMMAND, COMMAND_ALL);
}

/* --- configuration space --- */

static bool find_testdev(void)
{
	u32 found = 0, differences = 0;

	check_eq(by_ports(0, 0), 0x29c08086, "the host bridge, by ports");
	check_eq(by_ports(0, 8) >> 8, 0x060000, "its class");
	outl(0xcf8, 0x80000000);
	check_eq(inl(0xcf8), 0x80000000, "the address register reads as written");
	outl(0xcf8, 0);
	check_eq(inl(0xcfc), 0xffffffff, "a disabled address");
	for (u32 s = 0; s < 32; s++) {
		u32 id = by_ports(s, 0);

		for (u32 offset = 0; offset < 256; offset += 4)
			differences += by_ports(s, offset) != read32(ecam(s, offset));
		if (id == 0xffffffff)
			continue;
		found++;
		if (id == TESTDEV_ID)
			slot = s;
		else if (by_ports(s, 8) >> 8 == 0x060400)
			port = s;
	}
	check_eq(differences, 0, "ports and ECAM show the same");
	return check(slot && port, "a test function and a root port are among %u", found);
}

/* As Linux does it: decoding off, all ones, and back. */
static void test_sizes(void)
{
	for (slot = 0; slot < 32; slot++) {
		u16 command = config16(COMMAND);

		if (config32(0) == 0xffffffff)
			continue;
		set_config16(COMMAND, 0);
		for (int i = 0; i < (config32(HEADER_TYPE) & 1u << 16 ? 2 : 6); i++) {
			u32 before = config32(BAR(i)), size;

			set_config32(BAR(i), 0xffffffff);
			size = config32(BAR(i));
			set_config32(BAR(i), before);
			size = -(size & (size & 1 ? ~3u : ~15u));
			check(!(size & (size - 1)), "slot %u, BAR %d: 0x%x bytes", slot, i, size);
			check_eq(config32(BAR(i)), before, "it has its address again");
		}
		set_config16(COMMAND, command);
	}
}

/* --- BARs --- */

static bool registers_are_at(u32 address)
{
	static u32 number = 0x1000;

	set_config32(BAR(0), address);
	outl(PORTS, ++number);
	return read32(address + LATCH) == number;
}

static void test_moves(void)
{
	place_bars();
	check(registers_are_at(REGISTERS), "registers where the BAR says");
	check(registers_are_at(ELSEWHERE), "moved");
	check_eq(read32(REGISTERS + LATCH), 0xffffffff, "not where they were");
	check_eq(read32(WIDE + 0x3ffc), inl(PORTS), "a 64-bit BAR");
	set_config16(COMMAND, COMMAND_IO);
	check_eq(read32(ELSEWHERE), 0xffffffff, "memory decoding off");
	set_config16(COMMAND, COMMAND_ALL);
	check(registers_are_at(REGISTERS), "and on");
}

static void test_over_other_things(void)
{
	volatile u32 *page = page_alloc();
	u32 address = (u32)(ulong)page, code = (u32)(ulong)test_over_other_things & ~0xfffu;
	u32 id = apic_id(), first;

	*page = 0x600d;
	check(!registers_are_at(address), "RAM wins");
	check_eq(*page, 0x600d, "RAM reads as before");
	*page = 0xdead;
	check(*page == 0xdead && inl(PORTS) != 0xdead, "RAM takes stores");
	first = read32(code);
	set_config32(BAR(0), code);
	check_eq(read32(code), first, "over the code that runs");
	set_config32(BAR(0), APIC_ADDRESS);
	check_eq(apic_id(), id, "over the local APIC");
	set_config32(BAR(0), IOAPIC_ADDRESS);
	check_eq(ioapic_read(1) >> 16 & 0xff, 23, "over the IOAPIC");
	set_config32(BAR(0), ECAM_BASE);
	check_eq(read32(ecam(0, 0)), 0x29c08086, "over configuration space");
	set_config32(BAR(0), TABLE);
	set_config32(BAR(4), TABLE);
	check(registers_are_at(TABLE), "over the function's own table: the first BAR wins");
	set_config32(BAR(1), 0xcf8);
	check_eq(by_ports(0, 0), 0x29c08086, "ports over those of configuration space");
	set_config32(BAR(1), PORTS);
	for (u32 at = 0; at < 0xfffff000u; at += 0x1357000)
		set_config32(BAR(0), at);
	check(registers_are_at(REGISTERS), "back");
	check_eq(read32(TABLE + 12), 1, "and the table is there");
}

static void test_dma(void)
{
	volatile u32 *page = page_alloc();

	write32(REGISTERS + ADDRESS, (u32)(ulong)page);
	write32(REGISTERS + ADDRESS + 4, 0);
	write32(REGISTERS + DMA, 0x1111);
	check(*page == 0x1111 && read32(REGISTERS + DMA) == 1, "DMA");
	set_config16(COMMAND, COMMAND_IO | COMMAND_MEMORY);
	write32(REGISTERS + DMA, 0x2222);
	check(*page == 0x1111 && read32(REGISTERS + DMA) == 0, "none without bus mastering");
	set_config16(COMMAND, COMMAND_ALL);
	write32(REGISTERS + ADDRESS + 4, 0x7fffffff);
	write32(REGISTERS + DMA, 0x3333);
	check_eq(read32(REGISTERS + DMA), 0, "none to where nothing is");
}

/* A loop that an engine finds hot. */
static void test_doorbell(void)
{
	u32 before = read32(REGISTERS + RINGS);

	for (u32 i = 0; i < 20000; i++)
		write32(REGISTERS + DOORBELL + (i & 3) * 4, i);
	check_eq(read32(REGISTERS + RINGS) - before, 20000, "each store rings");
	check_eq(read32(REGISTERS + RINGS + 4), (19999 & 3) * 4 << 16 | 19999,
		"with its offset and value");
}

/* --- interrupts --- */

static void set_vector(u32 n, bool masked)
{
	write32(TABLE + 16 * n + 12, 1);
	write32(TABLE + 16 * n, APIC_ADDRESS | apic_id() << 12);
	write32(TABLE + 16 * n + 4, 0);
	write32(TABLE + 16 * n + 8, VECTOR + n);
	write32(TABLE + 16 * n + 12, masked);
}

static u32 delivered(u32 n)
{
	u32 count;

	window();
	count = taken[VECTOR + n];
	taken[VECTOR + n] = 0;
	return count;
}

static void test_msix(void)
{
	u32 msix = capability(CAP_MSIX) + 2;

	check_eq(config16(msix) & 0x7ff, 3, "four vectors");
	for (u32 n = 0; n < 4; n++)
		set_vector(n, n & 1);
	write32(REGISTERS + NOTIFY, 0);
	check_eq(delivered(0), 0, "nothing while MSI-X is off");
	set_config16(msix, MSIX_ENABLE);
	write32(REGISTERS + NOTIFY, 0);
	check_eq(delivered(0), 1, "a vector arrives");
	write32(REGISTERS + NOTIFY, 1);
	write32(REGISTERS + NOTIFY, 1);
	check_eq(delivered(1), 0, "a masked one does not");
	check_eq(read32(PENDING), 2, "it is pending");
	write32(TABLE + 16 + 12, 0);
	check_eq(delivered(1), 1, "it arrives once when it is unmasked");
	check_eq(read32(PENDING), 0, "and is pending no more");
	set_config16(msix, MSIX_ENABLE | MSIX_MASK_ALL);
	write32(REGISTERS + NOTIFY, 0);
	write32(REGISTERS + NOTIFY, 3);
	check(!delivered(0) && read32(PENDING) == 9, "the function's mask is over all");
	set_config16(msix, MSIX_ENABLE);
	check(delivered(0) == 1 && !delivered(3), "it opens only what is open by itself");
	check_eq(read32(PENDING), 8, "the other still waits");
	set_config16(msix, 0);
}

/* The pin stays asserted until the timer has come often enough: each EOI brings the next one. */
static void take_pin(struct trap_frame *f)
{
	taken[PIN_VECTOR]++;
	if (taken[TIMER_VECTOR] >= 10)
		write32(REGISTERS + PIN, 0);
	apic_eoi();
}

static void test_pin(void)
{
	int gsi = INTX_GSI + slot % 8;

	check_eq(config32(0x3c) & 0xffff, 0x100u | gsi, "INTA#, and its line");
	trap_set_handler(PIN_VECTOR, take);
	write32(REGISTERS + PIN, 1);
	check(config16(STATUS) & STATUS_PIN, "the status register shows the pin");
	set_config16(COMMAND, COMMAND_ALL | COMMAND_NO_PIN);
	ioapic_route(gsi, apic_id(), PIN_VECTOR | IOAPIC_LEVEL | IOAPIC_LOW_ACTIVE);
	window();
	check_eq(taken[PIN_VECTOR], 0, "a disabled pin");
	check(config16(STATUS) & STATUS_PIN, "which the status register shows all the same");

	/* A storm: the timer comes through, and the machine lives on. */
	trap_set_handler(PIN_VECTOR, take_pin);
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, TIMER_VECTOR | LVT_PERIODIC);
	apic_write(APIC_TIMER_INITIAL, 1000000);
	set_config16(COMMAND, COMMAND_ALL);
	wait_for(&taken[TIMER_VECTOR], 12, 5000);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	check(taken[TIMER_VECTOR] >= 12, "the timer comes in a storm of %u interrupts",
		taken[PIN_VECTOR]);
	check(taken[PIN_VECTOR] > 10, "there was a storm");
	check(!(config16(STATUS) & STATUS_PIN), "it ends with the pin");
	ioapic_route(gsi, 0, IOAPIC_MASKED);
}

/* --- resets --- */

static void test_resets(void)
{
	u32 control = capability(CAP_EXPRESS) + 8, power = capability(CAP_POWER) + 4;
	u32 before;

	place_bars();
	before = read32(REGISTERS + RESETS);
	write32(REGISTERS + LATCH, 7);
	set_config16(control, config16(control) | 1 << 15);
	check(!config16(COMMAND) && !config32(BAR(0)), "a function level reset");
	place_bars();
	check_eq(read32(REGISTERS + RESETS), before + 1, "the device was reset");
	check_eq(read32(REGISTERS + LATCH), 0, "wholly");
	set_config16(power, 3);
	check_eq(config16(power) & 3, 3, "D3hot");
	check_eq(read32(REGISTERS), 0xffffffff, "in which there are no registers");
	set_config16(power, 0);
	check(!config16(COMMAND) && !config32(BAR(0)), "the way back is a reset");
	place_bars();
	check_eq(read32(REGISTERS + RESETS), before + 2, "of the device, too");
}

/* --- behind a root port --- */

static u32 behind_base; /* its configuration space */

static u32 behind32(u32 offset)
{
	return read32(behind_base + offset);
}

static void place_behind(void)
{
	write32(behind_base + BAR(0), REGISTERS);
	write32(behind_base + BAR(4), TABLE);
	write32(behind_base + COMMAND, COMMAND_MEMORY | COMMAND_MASTER);
}

/* What is behind it reads and writes as it did before, and counts its resets. */
static void test_hot_reset(void)
{
	u32 before;

	place_behind();
	before = read32(REGISTERS + RESETS);
	write32(REGISTERS + LATCH, 7);
	set_config16(BRIDGE_CONTROL, BUS_RESET);
	check_eq(behind32(0), 0xffffffff, "a link in reset");
	check_eq(read32(REGISTERS + LATCH), 0xffffffff, "carries no memory cycle either");
	set_config16(BRIDGE_CONTROL, 0);
	check_eq(behind32(0), TESTDEV_ID, "the function is back");
	check(!(behind32(COMMAND) & 0xffff) && !behind32(BAR(0)), "and in its first state");
	place_behind();
	check_eq(read32(REGISTERS + RESETS), before + 1, "the device was reset");
	check_eq(read32(REGISTERS + LATCH), 0, "wholly");
}

static void test_port(void)
{
	volatile u32 *page = page_alloc();
	u32 numbers, windows;

	set_config16(COMMAND, 0); /* the other one is silent */
	slot = port;
	numbers = config32(BUS_NUMBERS);
	windows = config32(MEMORY_WINDOW);
	behind_base = ECAM_BASE + ((numbers >> 8 & 0xff) << 20);
	check_eq(behind32(0), TESTDEV_ID, "bus %u has a function", numbers >> 8 & 0xff);
	set_config32(BUS_NUMBERS, 0x404000);
	check_eq(behind32(0), 0xffffffff, "which goes");
	check_eq(read32(ECAM_BASE + (0x40 << 20)), TESTDEV_ID, "where the port's bus number goes");
	set_config32(BUS_NUMBERS, numbers);

	set_config32(MEMORY_WINDOW, (REGISTERS >> 16) | (WIDE & 0xffff0000));
	set_config16(COMMAND, COMMAND_ALL);
	place_behind();
	write32(REGISTERS + LATCH, 0x77);
	check_eq(read32(REGISTERS + LATCH), 0x77, "memory within the window");
	set_config32(MEMORY_WINDOW, (ELSEWHERE >> 16) | (WIDE & 0xffff0000));
	check_eq(read32(REGISTERS + LATCH), 0xffffffff, "none outside");
	set_config32(MEMORY_WINDOW, (REGISTERS >> 16) | (WIDE & 0xffff0000));

	write32(REGISTERS + ADDRESS, (u32)(ulong)page);
	write32(REGISTERS + DMA, 0x1111);
	check_eq(*page, 0x1111, "DMA goes through the port");
	set_config16(COMMAND, COMMAND_MEMORY);
	write32(REGISTERS + DMA, 0x2222);
	check_eq(*page, 0x1111, "while it is a bus master");
	set_config16(COMMAND, COMMAND_ALL);

	ioapic_route(INTX_GSI + port % 8, apic_id(), PIN_VECTOR | IOAPIC_LEVEL | IOAPIC_LOW_ACTIVE);
	taken[PIN_VECTOR] = 0;
	taken[TIMER_VECTOR] = 10;
	write32(REGISTERS + PIN, 1);
	window();
	check_eq(taken[PIN_VECTOR], 1, "the pin is the port's");
	ioapic_route(INTX_GSI + port % 8, 0, IOAPIC_MASKED);
	test_hot_reset();
	set_config16(COMMAND, 0);
	set_config32(MEMORY_WINDOW, windows);
}

/* --- two CPUs --- */

#define ROUNDS 3000

static volatile u32 done;

/* One moves the registers to and fro, over RAM as well, and masks; the other stores to both places
 * and signals. A busy host may run the first alone for all its rounds: it goes on until a store of
 * the other has rung, and a signal has arrived. */
static void disturb(u32 cpu)
{
	static u32 spare[1024] __attribute__((aligned(4096)));

	if (cpu == 1) {
		for (u32 i = 0; i < ROUNDS || !read32(REGISTERS + RINGS) || !taken[VECTOR]; i++) {
			set_config32(BAR(0), i % 3 ? ELSEWHERE : (u32)(ulong)spare);
			write32(TABLE + 12, 1);
			set_config32(BAR(0), REGISTERS);
			write32(TABLE + 12, 0);
		}
		done = 1;
		return;
	}
	while (!done) {
		write32(REGISTERS + DOORBELL, 1);
		write32(ELSEWHERE + DOORBELL, 2);
		write32(REGISTERS + NOTIFY, 0);
		write32(ELSEWHERE + NOTIFY, 0);
		window();
	}
}

static void test_two_at_once(void)
{
	u32 msix = capability(CAP_MSIX) + 2;

	place_bars();
	set_vector(0, false);
	set_config16(msix, MSIX_ENABLE);
	taken[VECTOR] = 0;
	check(smp_run_all(2, disturb, 30000), "BARs move under the other CPU's stores");
	window();
	check(read32(REGISTERS + RINGS) > 0, "doorbells rang: %u", read32(REGISTERS + RINGS));
	check(taken[VECTOR] > 0, "interrupts came: %u", taken[VECTOR]);
	taken[VECTOR] = 0;
	write32(REGISTERS + NOTIFY, 0);
	check_eq(delivered(0), 1, "and still do");
	check_eq(read32(PENDING), 0, "nothing is left");
}

void guest_main(void)
{
	pic_init(0x20);
	apic_enable();
	for (int n = 0; n < 4; n++)
		trap_set_handler(VECTOR + n, take);
	trap_set_handler(TIMER_VECTOR, take);
	if (!check(smp_start(2), "two CPUs run") || !find_testdev())
		return;
	u32 testdev = slot;

	test_sizes();
	slot = testdev;
	test_moves();
	test_over_other_things();
	test_dma();
	test_doorbell();
	test_msix();
	test_pin();
	test_resets();
	test_port();
	slot = testdev;
	test_two_at_once();
}
