/* The e1000 at the hands of a hostile driver: any register, any bytes in memory, frames that come,
 * a back end with and without room, saved states with any byte changed. The input is a list of
 * steps of eight bytes. What the back end gets is checked by the fixture. */
#include "../unit/e1000_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct step {
	uint8_t action; /* enum action, modulo */
	uint8_t choice;
	uint16_t offset;
	uint32_t value;
};

enum action {
	READ,
	WRITE,
	WRITE_RING,
	MEMORY,
	DESCRIPTOR,
	FRAME,
	ROOM,
	TIME,
	RESET,
	SAVE,
	ACTIONS
};

/* The registers that do something. */
static const uint16_t known[] = {E1000_CTRL, E1000_EECD, E1000_EERD, E1000_MDIC, E1000_ICR,
	E1000_ITR, E1000_ICS, E1000_IMS, E1000_IMC, E1000_RCTL, E1000_TCTL, E1000_RDBAL,
	E1000_RDLEN, E1000_RDH, E1000_RDT, E1000_TDBAL, E1000_TDLEN, E1000_TDH, E1000_TDT,
	E1000_RXCSUM};

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct clock machine_clock;
static struct event_loop *loop;
static struct memory memory;
static struct io_space ports;
static struct device_list devices;
static struct e1000 *card;

static void require(bool condition)
{
	if (!condition)
		abort();
}

static bool take_message(void *opaque, uint64_t address, uint32_t data)
{
	return true;
}

static void create(void)
{
	static const uint8_t mac[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	struct pci_config config = {.memory = &memory,
		.ports = &ports,
		.devices = &devices,
		.loop = loop,
		.msi = take_message};

	io_space_init(&ports, &lock);
	io_space_init(&memory.mmio, &lock);
	fake = (struct fake_net){.backend = {.ops = &fake_ops, .queues = 1}};
	require(e1000_create(pci_create(&config), PCI_ANY_SLOT, 0, &fake.backend, mac) == 0);
	device_list_firmware_setup(&devices);
	card = card_on_list(&devices);
	io_space_write(&ports, 0xcf8, 0x80000804, 4);
	io_space_write(&ports, 0xcfc, 0x7, 2);
	device_list_resume(&devices);
}

static void destroy(void)
{
	device_list_destroy(&devices);
	io_space_destroy(&ports);
	io_space_destroy(&memory.mmio);
}

static void write_register(unsigned offset, uint32_t value)
{
	io_space_write(&memory.mmio, card->function.mapped[0] + offset, value, 4);
}

/* Rings of 8 descriptors, at the start of memory: that a driver has made, from which it goes on. */
static void write_rings(uint32_t value)
{
	write_register(E1000_TDBAL, 0);
	write_register(E1000_TDLEN, 128);
	write_register(E1000_RDBAL, 128);
	write_register(E1000_RDLEN, 128);
	write_register(E1000_RCTL, value | E1000_RCTL_EN | E1000_RCTL_UPE);
	write_register(E1000_TCTL, E1000_TCTL_EN);
	write_register(E1000_RDT, 7);
}

static void let_time_pass(uint64_t ns)
{
	uint64_t end = clock_ns(&machine_clock) + ns;
	unsigned bound = 100;

	machine_clock.paused_tsc = clock_ns_to_cycles(&machine_clock, end);
	priority_lock_take(&lock);
	while (event_loop_next_deadline(loop) <= end) {
		require(bound--);
		event_loop_run_timers(loop);
	}
	priority_lock_release(&lock);
}

static void save_and_load(const struct step *step)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	require(device_list_quiesce(&devices, 0));
	device_list_save(&devices, &saved);
	saved.bytes[step->offset % saved.size] ^= (uint8_t)step->value;
	reader = (struct state_reader){saved.bytes, saved.size};
	device_list_load(&devices, &reader);
	free(saved.bytes);
	priority_lock_take(&lock);
	device_list_resume(&devices);
	priority_lock_release(&lock);
}

static void run_step(const struct step *step, const uint8_t *rest, size_t left)
{
	uint64_t base = card->function.mapped[0];
	unsigned size = 1u << (step->choice & 3);

	switch (step->action % ACTIONS) {
	case READ:
		io_space_read(&memory.mmio, base + step->offset, size);
		break;
	case WRITE:
		if (step->choice & 4)
			io_space_write(&memory.mmio, base + step->offset, step->value, size);
		else
			write_register(known[step->offset % ARRAY_SIZE(known)], step->value);
		break;
	case WRITE_RING:
		write_rings(step->value);
		break;
	case MEMORY:
		memory_write(&memory, step->offset, rest, MIN(left, step->choice));
		break;
	case DESCRIPTOR:
		memory_write(&memory, step->choice % 16 * 16u + 8, &step->value, 4);
		memory_write(&memory, step->choice % 16 * 16u, &step->offset, 2);
		break;
	case FRAME:
		memcpy(fake.waiting, rest, MIN(left, 64u));
		arrive(card, fake.waiting, step->value % (NET_MAX_FRAME - NET_HEADER));
		break;
	case ROOM:
		if (step->value & 1)
			worker_call(card->worker, make_room, NULL);
		else
			fake.full = true;
		fake.backend.offloads = step->value & 2 ? NET_SOFTWARE_OFFLOADS : 0;
		break;
	case TIME:
		let_time_pass(step->value);
		break;
	case RESET:
		priority_lock_take(&lock);
		device_list_reset(&devices);
		device_list_firmware_setup(&devices);
		priority_lock_release(&lock);
		io_space_write(&ports, 0xcf8, 0x80000804, 4);
		io_space_write(&ports, 0xcfc, 0x7, 2);
		break;
	case SAVE:
		save_and_load(step);
		break;
	}
	settle(card);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	clock_init(&machine_clock);
	machine_clock.paused = true;
	loop = event_loop_create(&machine_clock, &lock);
	require(loop && memory_create(&memory, 16 * MIB, 40, &lock) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step step;

	machine_clock.paused_tsc = 0;
	create();
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run_step(&step, data + sizeof(step), size - sizeof(step));
	}
	destroy();
	return 0;
}
