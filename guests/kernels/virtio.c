/*
 * The entropy device at the hands of a driver that does things by hand: split and packed rings,
 * event indices, MSI-X and the interrupt pin, rings full of nonsense, doorbells without end, resets
 * with requests in flight. (virtio 1.2: 2.7, 2.8, 4.1, 5.4.)
 *
 * It also says how long a request takes: from the store to the doorbell until the bytes are there,
 * and until the interrupt has come.
 */
#include "smp.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#define ENTROPY       0x10441af4
#define SIZE          16 /* of the ring */
#define BYTES         64 /* of a request */
#define CONFIG_VECTOR 0x50
#define QUEUE_VECTOR  0x51
#define PIN_VECTOR    0x52
#define BATTERED      50 /* rounds */

#define OFFER(n) (1ull << (n))

#define READY                                                                                      \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |      \
		VIRTIO_CONFIG_S_DRIVER_OK)

static u32 cpus;

/* --- the function on the bus --- */

static u32 slot;
static volatile u8 *common, *isr;
static volatile u16 *doorbell;
static volatile u32 *msix_table;
static u32 msix_capability;

static u32 config_read(u32 at)
{
	outl(0xcf8, 0x80000000 | slot << 11 | (at & ~3u));
	return inl(0xcfc) >> (8 * (at & 3));
}

static void config_write16(u32 at, u16 value)
{
	outl(0xcf8, 0x80000000 | slot << 11 | (at & ~3u));
	outw((u16)(0xcfc + (at & 2)), value);
}

static volatile u8 *bar(u32 index)
{
	return (volatile u8 *)(ulong)(config_read(PCI_BASE_ADDRESS_0 + 4 * index) & ~15u);
}

static void find_registers(void)
{
	u32 at = config_read(PCI_CAPABILITY_LIST) & 0xff;

	for (; at; at = config_read(at + 1) & 0xff) {
		u8 id = (u8)config_read(at), type = (u8)config_read(at + VIRTIO_PCI_CAP_CFG_TYPE);
		volatile u8 *group;

		if (id == PCI_CAP_ID_MSIX) {
			msix_capability = at;
			msix_table = (volatile u32 *)bar(config_read(at + PCI_MSIX_TABLE) & 7);
		}
		if (id != PCI_CAP_ID_VNDR || type == VIRTIO_PCI_CAP_PCI_CFG)
			continue;
		group = bar(config_read(at + VIRTIO_PCI_CAP_BAR) & 0xff) +
			config_read(at + VIRTIO_PCI_CAP_OFFSET);
		if (type == VIRTIO_PCI_CAP_COMMON_CFG)
			common = group;
		else if (type == VIRTIO_PCI_CAP_ISR_CFG)
			isr = group;
		else if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
			doorbell = (volatile u16 *)group;
	}
}

static bool find_device(void)
{
	for (slot = 1; slot < 32; slot++)
		if (config_read(PCI_VENDOR_ID) == ENTROPY)
			break;
	if (!check(slot < 32, "there is an entropy device"))
		return false;
	config_write16(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	find_registers();
	return check(common && isr && doorbell && msix_table, "its registers are found");
}

static u8 get8(u32 at)
{
	return common[at];
}

static void put8(u32 at, u8 value)
{
	common[at] = value;
}

static void put16(u32 at, u16 value)
{
	*(volatile u16 *)(common + at) = value;
}

static u32 get32(u32 at)
{
	return *(volatile u32 *)(common + at);
}

static void put32(u32 at, u32 value)
{
	*(volatile u32 *)(common + at) = value;
}

static void put_address(u32 at, const void *address)
{
	put32(at, (u32)(ulong)address);
	put32(at + 4, 0);
}

/* --- interrupts --- */

static volatile u32 queue_interrupts, config_interrupts, pin_interrupts;
static volatile u64 interrupted_at;

static void on_queue(struct trap_frame *frame)
{
	interrupted_at = rdtsc();
	queue_interrupts++;
	apic_eoi();
}

static void on_config(struct trap_frame *frame)
{
	config_interrupts++;
	apic_eoi();
}

/* Whatever the pin says is counted as the vectors would have it. */
static void on_pin(struct trap_frame *frame)
{
	u8 why = *isr;

	interrupted_at = rdtsc();
	pin_interrupts++;
	queue_interrupts += why & 1;
	config_interrupts += why >> 1 & 1;
	apic_eoi();
}

static void set_vector(u32 index, u8 vector)
{
	msix_table[4 * index] = (u32)APIC_ADDRESS | apic_id() << 12;
	msix_table[4 * index + 1] = 0;
	msix_table[4 * index + 2] = vector;
	msix_table[4 * index + 3] = 0;
}

static void use_msix(bool msix)
{
	config_write16(msix_capability + PCI_MSIX_FLAGS, msix ? PCI_MSIX_FLAGS_ENABLE : 0);
	set_vector(0, CONFIG_VECTOR);
	set_vector(1, QUEUE_VECTOR);
	ioapic_route((int)(config_read(PCI_INTERRUPT_LINE) & 0xff), apic_id(),
		PIN_VECTOR | IOAPIC_LEVEL | IOAPIC_LOW_ACTIVE | (msix ? IOAPIC_MASKED : 0));
}

/* --- the ring --- */

/* One of these is used. */
static struct vring_desc *split;
static struct vring_packed_desc *packed;

static struct vring_avail *available;
static struct vring_used *used;
static struct vring_packed_desc_event *driver_event, *device_event;
static u8 (*buffers)[BYTES];
static bool event_index;
static u16 next_available, next_used;
static bool available_wrap, used_wrap;

static void clear_ring(void)
{
	memset(split, 0, 4096);
	memset(available, 0, 4096);
	memset(used, 0, 4096);
	next_available = next_used = 0;
	available_wrap = used_wrap = true;
}

static void make_rings(void)
{
	split = page_alloc();
	available = page_alloc();
	used = page_alloc();
	buffers = page_alloc();
	driver_event = (void *)available;
	device_event = (void *)used;
}

/* From reset to DRIVER_OK; what the status is then. */
static u8 set_up(u64 features)
{
	features |= OFFER(VIRTIO_F_VERSION_1);
	packed = features & OFFER(VIRTIO_F_RING_PACKED) ? (void *)split : NULL;
	event_index = features & OFFER(VIRTIO_RING_F_EVENT_IDX);
	clear_ring();
	put8(VIRTIO_PCI_COMMON_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	put32(VIRTIO_PCI_COMMON_GFSELECT, 0);
	put32(VIRTIO_PCI_COMMON_GF, (u32)features);
	put32(VIRTIO_PCI_COMMON_GFSELECT, 1);
	put32(VIRTIO_PCI_COMMON_GF, (u32)(features >> 32));
	put8(VIRTIO_PCI_COMMON_STATUS, READY & ~VIRTIO_CONFIG_S_DRIVER_OK);
	put16(VIRTIO_PCI_COMMON_MSIX, 0);
	put16(VIRTIO_PCI_COMMON_Q_SELECT, 0);
	put16(VIRTIO_PCI_COMMON_Q_SIZE, SIZE);
	put16(VIRTIO_PCI_COMMON_Q_MSIX, 1);
	put_address(VIRTIO_PCI_COMMON_Q_DESCLO, split);
	put_address(VIRTIO_PCI_COMMON_Q_AVAILLO, available);
	put_address(VIRTIO_PCI_COMMON_Q_USEDLO, used);
	put16(VIRTIO_PCI_COMMON_Q_ENABLE, 1);
	put8(VIRTIO_PCI_COMMON_STATUS, READY);
	return get8(VIRTIO_PCI_COMMON_STATUS);
}

/* Reset and wait, and take the interrupts that have come till then; false: it does not end. */
static bool reset(void)
{
	u64 end = rdtsc() + 2000ull * tsc_per_ms();

	put8(VIRTIO_PCI_COMMON_STATUS, 0);
	while (get8(VIRTIO_PCI_COMMON_STATUS)) {
		if (rdtsc() > end)
			return false;
		cpu_relax();
	}
	irq_enable();
	cpu_relax();
	irq_disable();
	return true;
}

static void add_descriptor(u64 address, u32 length, u16 flags)
{
	u32 at = next_available % SIZE;

	if (!packed) {
		split[at] = (struct vring_desc){address, length, flags, 0};
		available->ring[at] = (u16)at;
		asm volatile("" : : : "memory");
		*(volatile u16 *)&available->idx = ++next_available;
		return;
	}
	flags |=
		(u16)(1 << (available_wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED));
	packed[at].addr = address;
	packed[at].len = length;
	packed[at].id = (u16)at;
	asm volatile("" : : : "memory");
	*(volatile u16 *)&packed[at].flags = flags;
	if (++next_available == SIZE) {
		next_available = 0;
		available_wrap = !available_wrap;
	}
}

static void add_request(void)
{
	u8 *buffer = buffers[next_available % SIZE];

	memset(buffer, 0, BYTES);
	add_descriptor((ulong)buffer, BYTES, VRING_DESC_F_WRITE);
}

static void ring(void)
{
	*doorbell = 0;
}

static bool is_done(void)
{
	u16 flags;

	if (!packed)
		return *(volatile u16 *)&used->idx != next_used;
	flags = *(volatile u16 *)&packed[next_used].flags;
	return (flags >> VRING_PACKED_DESC_F_AVAIL & 1) == used_wrap &&
	       (flags >> VRING_PACKED_DESC_F_USED & 1) == used_wrap;
}

static bool is_random(const u8 *bytes)
{
	u32 zeros = 0;

	for (u32 i = 0; i < BYTES; i++)
		zeros += !bytes[i];
	return zeros < 16;
}

/* The oldest request, which is done: as it should be? */
static bool finish(void)
{
	u32 at = next_used % SIZE, id, length;

	asm volatile("" : : : "memory");
	if (packed) {
		id = packed[at].id;
		length = packed[at].len;
		if (++next_used == SIZE) {
			next_used = 0;
			used_wrap = !used_wrap;
		}
	} else {
		id = used->ring[at].id;
		length = used->ring[at].len;
		next_used++;
	}
	return id == at && length == BYTES && is_random(buffers[at]);
}

static bool wait_done(u32 ms)
{
	u64 end = rdtsc() + (u64)tsc_per_ms() * ms;

	while (!is_done()) {
		if (rdtsc() > end)
			return false;
		cpu_relax();
	}
	return true;
}

/* An interrupt when the next request is done, or none. */
static void want_interrupt(bool wanted)
{
	if (packed) {
		driver_event->off_wrap = (u16)(next_used | used_wrap << 15);
		driver_event->flags = !wanted       ? VRING_PACKED_EVENT_FLAG_DISABLE
				      : event_index ? VRING_PACKED_EVENT_FLAG_DESC
						    : VRING_PACKED_EVENT_FLAG_ENABLE;
	} else if (event_index) {
		available->ring[SIZE] = (u16)(next_used - !wanted);
	} else {
		available->flags = wanted ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
	}
	asm volatile("mfence" : : : "memory");
}

/* COUNT requests, one at a time, each of which is to interrupt. */
static bool requests_interrupt(u32 count)
{
	for (u32 i = 0; i < count; i++) {
		u32 before = queue_interrupts;

		want_interrupt(true);
		add_request();
		ring();
		if (!wait_for(&queue_interrupts, before + 1, 2000) || !is_done() || !finish())
			return false;
	}
	return true;
}

static bool batches_come_back(u32 count)
{
	for (u32 i = 0; i < count; i++) {
		want_interrupt(false);
		for (u32 j = 0; j < SIZE; j++)
			add_request();
		ring();
		for (u32 j = 0; j < SIZE; j++)
			if (!wait_done(2000) || !finish())
				return false;
	}
	return true;
}

/* --- checks --- */

static const struct kind {
	const char *name;
	u64 features;
} kinds[] = {
	{"split", 0},
	{"split, event index", OFFER(VIRTIO_RING_F_EVENT_IDX)},
	{"packed", OFFER(VIRTIO_F_RING_PACKED)},
	{"packed, event index", OFFER(VIRTIO_F_RING_PACKED) | OFFER(VIRTIO_RING_F_EVENT_IDX)},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void test_requests(bool msix)
{
	const char *how = msix ? "MSI-X" : "the pin";

	use_msix(msix);
	for (u32 i = 0; i < KINDS; i++) {
		u32 before;

		pin_interrupts = 0;
		check_eq(
			set_up(kinds[i].features), READY, "%s: the device is ready", kinds[i].name);
		check(requests_interrupt(100), "%s: requests end with an interrupt by %s",
			kinds[i].name, how);
		check(msix == !pin_interrupts, "%s: only by that", kinds[i].name);
		before = queue_interrupts;
		check(batches_come_back(20), "%s: requests by the dozen", kinds[i].name);
		wait_for(&queue_interrupts, before + 1, 5);
		check_eq(queue_interrupts, before, "%s: no interrupt where none is wanted",
			kinds[i].name);
		check(reset(), "%s: reset", kinds[i].name);
	}
}

static void test_masked_vector(void)
{
	u32 before;

	use_msix(true);
	set_up(0);
	before = queue_interrupts;
	msix_table[7] = 1;
	add_request();
	ring();
	check(wait_done(2000) && finish(), "a request with its vector masked");
	wait_for(&queue_interrupts, before + 1, 5);
	check_eq(queue_interrupts, before, "no interrupt from a masked vector");
	msix_table[7] = 0;
	check(wait_for(&queue_interrupts, before + 1, 1000), "it comes when it is unmasked");
	check(reset(), "reset");
}

static void test_bus_master(void)
{
	set_up(0);
	/* The device looks at its rings soon after DRIVER_OK: not after the next line. */
	add_request();
	ring();
	check(wait_done(2000) && finish(), "a request before that");
	config_write16(PCI_COMMAND, PCI_COMMAND_MEMORY);
	add_request();
	ring();
	check(!wait_done(20), "without bus mastering nothing is done");
	config_write16(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ring();
	check(wait_done(2000) && finish(), "with bus mastering it is");
	check(reset(), "reset");
}

static void *const nowhere[] = {(void *)0xa0000, (void *)0xfee00000, (void *)0xd0000000};

static void make_bad(u32 what)
{
	switch (what) {
	case 0:
		add_descriptor((ulong)buffers, 0, VRING_DESC_F_WRITE);
		break;
	case 1:
	case 2:
	case 3:
		add_descriptor((ulong)nowhere[what - 1], 16, VRING_DESC_F_WRITE);
		break;
	case 4:
		add_descriptor(~0ull - 8, 16, VRING_DESC_F_WRITE);
		break;
	case 5:
		add_descriptor((ulong)buffers, 0xffffffff, VRING_DESC_F_WRITE);
		break;
	case 6: /* indirect, and not agreed on */
		add_descriptor((ulong)buffers, 16, VRING_DESC_F_INDIRECT);
		break;
	case 7: /* a chain without end */
		for (u32 i = 0; i < SIZE; i++)
			add_descriptor((ulong)buffers, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT);
		break;
	}
}
#define BAD 8

static void test_bad_rings(void)
{
	use_msix(true);
	for (u32 i = 0; i < 2 * BAD; i++) {
		u32 before = config_interrupts;

		set_up(i % 2 ? OFFER(VIRTIO_F_RING_PACKED) : 0);
		make_bad(i / 2);
		ring();
		check(wait_for(&config_interrupts, before + 1, 2000),
			"bad ring %u: an interrupt for the configuration", i);
		check_eq(get8(VIRTIO_PCI_COMMON_STATUS), READY | VIRTIO_CONFIG_S_NEEDS_RESET,
			"bad ring %u: the device needs a reset", i);
		add_request();
		ring();
		check(reset() && set_up(0) == READY && requests_interrupt(1),
			"bad ring %u: a reset makes it good", i);
		reset();
	}
	used = (void *)0xa0000;
	set_up(0);
	delay_ms(20);
	check_eq(get8(VIRTIO_PCI_COMMON_STATUS), READY | VIRTIO_CONFIG_S_NEEDS_RESET,
		"a ring in the VGA window needs a reset");
	used = (void *)device_event;
	check(reset() && set_up(0) == READY && requests_interrupt(1), "a reset makes it good");
	reset();
}

/* --- several CPUs --- */

static volatile u32 stop_ringing;

static void ring_on(u32 cpu)
{
	while (!stop_ringing)
		for (u32 i = 0; i < 100; i++)
			ring();
}

static void ring_on_others(bool start)
{
	stop_ringing = !start;
	for (u32 cpu = 1; cpu < cpus; cpu++) {
		if (start)
			smp_run(cpu, ring_on);
		else
			smp_wait(cpu, 5000);
	}
}

static void test_storm(void)
{
	for (u32 i = 0; i < KINDS; i++) {
		set_up(kinds[i].features);
		ring_on_others(true);
		for (u32 j = 0; j < 1000; j++)
			ring();
		check(requests_interrupt(BATTERED) && batches_come_back(BATTERED),
			"%s: requests among doorbells", kinds[i].name);
		ring_on_others(false);
		check(reset(), "reset");
	}
}

static void test_reset_in_flight(void)
{
	ring_on_others(true);
	for (u32 i = 0; i < KINDS; i++) {
		bool good = true;

		for (u32 j = 0; j < BATTERED && good; j++) {
			set_up(kinds[i].features);
			for (u32 k = 0; k < SIZE; k++)
				add_request();
			ring();
			for (u32 k = 0; k < j % 8 * 100; k++)
				cpu_relax();
			good = reset() && set_up(kinds[i].features) == READY &&
			       requests_interrupt(1) && reset();
		}
		check(good, "%s: resets with requests in flight", kinds[i].name);
	}
	ring_on_others(false);
}

/* --- how long it takes --- */

#define SAMPLES 1000

static u32 samples[3][SAMPLES];

static void sort(u32 *values)
{
	for (u32 i = 1; i < SAMPLES; i++) {
		u32 value = values[i], j = i;

		for (; j && values[j - 1] > value; j--)
			values[j] = values[j - 1];
		values[j] = value;
	}
}

static void tell(const char *name, u32 *cycles)
{
	u32 per_us = tsc_per_ms() / 1000;

	sort(cycles);
	print("TIME %s: median %u ns, best tenth %u ns, worst tenth %u ns\n", name,
		(u32)(1000ull * cycles[SAMPLES / 2] / per_us),
		(u32)(1000ull * cycles[SAMPLES / 10] / per_us),
		(u32)(1000ull * cycles[SAMPLES * 9 / 10] / per_us));
}

static void measure(bool halt)
{
	bool good = true;

	set_up(0);
	for (u32 i = 0; i < SAMPLES && good; i++) {
		u32 before = queue_interrupts;
		u64 start, rung;

		add_request();
		start = rdtsc();
		ring();
		rung = rdtsc();
		if (halt) {
			while (queue_interrupts == before)
				irq_wait();
		} else {
			good = wait_for(&queue_interrupts, before + 1, 2000);
		}
		samples[0][i] = (u32)(rung - start);
		samples[1][i] = (u32)(interrupted_at - start);
		good = good && is_done() && finish();
	}
	if (!check(good, "requests are timed"))
		return;
	tell("doorbell alone", samples[0]);
	tell(halt ? "doorbell to interrupt, in HLT" : "doorbell to interrupt, polling", samples[1]);
	reset();

	set_up(0);
	want_interrupt(false);
	for (u32 i = 0; i < SAMPLES && good; i++) {
		u64 start;

		add_request();
		start = rdtsc();
		ring();
		good = wait_done(2000);
		samples[2][i] = (u32)(rdtsc() - start);
		good = good && finish();
	}
	check(good, "requests are timed");
	tell("doorbell to bytes", samples[2]);
	reset();
}

void guest_main(void)
{
	cpus = boot_option("cpus", 1);
	if (cpus > 1 && !check(smp_start(cpus), "%u CPUs run", cpus))
		return;
	apic_enable();
	trap_set_handler(QUEUE_VECTOR, on_queue);
	trap_set_handler(CONFIG_VECTOR, on_config);
	trap_set_handler(PIN_VECTOR, on_pin);
	make_rings();
	if (!find_device())
		return;
	check_eq(get32(VIRTIO_PCI_COMMON_DFSELECT), 0, "features are selected from bit 0 on");
	check(reset(), "reset");
	test_requests(true);
	test_requests(false);
	test_masked_vector();
	test_bus_master();
	test_bad_rings();
	test_storm();
	test_reset_in_flight();
	measure(true);
	measure(false);
}
