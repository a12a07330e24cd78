/* The host bridge: Intel's 3 Series MCH (Q35; data sheet 316966), 8086:29c0, of which there is what
 * firmware programs. The subsystem is QEMU's, which firmware knows such a board by.
 *
 *	PCIEXBAR	0x60	where configuration space is mapped
 *	PAM0-PAM6	0x90	what is at 0xc0000-0xfffff
 *
 * PAM: on each of thirteen segments, reads go to RAM or else to the ROM's bus (bit 0), and so do
 * stores (bit 1). The ROM and RAM of a segment share its place in the file that is RAM: what is
 * not shown is kept in `hidden`. A segment that is read from ROM and stores to RAM, which a BIOS
 * uses to copy a ROM to the RAM below it, becomes RAM that begins with the ROM's bytes. */
#include "device/pci/internal.h"

#define PCIEXBAR       0x60
#define PAM            0x90
#define PAM_SIZE       7
#define SMRAM          0x9d
#define SMRAM_AT_RESET 0x02 /* closed, at 0xa0000 */

#define PCIEXBAR_ENABLE     BIT(0)
#define PCIEXBAR_LENGTH(v)  ((v) >> 1 & 3)
#define PCIEXBAR_ADDRESS(v) ((v) & (BIT(36) - BIT(26)))

enum { PAM_READ_RAM = 1, PAM_WRITE_RAM = 2 };

/* PAM0 has the last 64 KiB, the others two segments of 16 KiB each. */
static uint32_t segment_start(unsigned segment)
{
	return segment ? (segment - 1) * 16 * (uint32_t)KIB : 192 * (uint32_t)KIB;
}

static uint32_t segment_size(unsigned segment)
{
	return segment ? 16 * KIB : 64 * KIB;
}

static unsigned segment_mode(const struct pci_host_bridge *bridge, unsigned segment)
{
	uint8_t pam = bridge->function.state.config[PAM + (segment + 1) / 2];

	return (segment % 2 ? pam : pam >> 4) & 3;
}

static void guard(struct pci_bus *bus, unsigned segment, unsigned mode)
{
	memory_guard(bus->config.memory, PCI_SHADOW_BASE + segment_start(segment),
		segment_size(segment), !(mode & PAM_WRITE_RAM));
}

/* Show `bytes` in the segment, which is to be guarded afterwards. */
static void show(struct pci_bus *bus, unsigned segment, const uint8_t *bytes)
{
	guard(bus, segment, PAM_WRITE_RAM);
	memory_write(bus->config.memory, PCI_SHADOW_BASE + segment_start(segment), bytes,
		segment_size(segment));
}

static void change_segment(struct pci_bus *bus, unsigned segment, unsigned mode)
{
	struct pci_host_bridge *bridge = &bus->host_bridge;
	uint32_t start = segment_start(segment), size = segment_size(segment);
	bool ram = bridge->state.shows_ram[segment];

	if (mode == 0 && ram) {
		memory_read(bus->config.memory, PCI_SHADOW_BASE + start,
			bridge->state.hidden + start, size);
		show(bus, segment, bridge->rom + start);
	} else if ((mode & PAM_READ_RAM) && !ram) {
		show(bus, segment, bridge->state.hidden + start);
	}
	bridge->state.shows_ram[segment] = mode != 0;
	bridge->state.mode[segment] = (uint8_t)mode;
	guard(bus, segment, mode);
}

static void apply_pam(struct pci_bus *bus)
{
	struct pci_host_bridge *bridge = &bus->host_bridge;

	for (unsigned i = 0; bridge->rom && i < PCI_PAM_SEGMENTS; i++)
		if (segment_mode(bridge, i) != bridge->state.mode[i])
			change_segment(bus, i, segment_mode(bridge, i));
}

static void apply_ecam(struct pci_bus *bus)
{
	static const uint64_t sizes[4] = {256 * MIB, 128 * MIB, 64 * MIB, 0};
	const uint8_t *config = bus->host_bridge.function.state.config;
	uint64_t value = pci_get32(config, PCIEXBAR) | (uint64_t)pci_get32(config, PCIEXBAR + 4)
							       << 32;
	uint64_t size = value & PCIEXBAR_ENABLE ? sizes[PCIEXBAR_LENGTH(value)] : 0;

	pci_map_ecam(bus, size ? PCIEXBAR_ADDRESS(value) & ~(size - 1) : 0, size);
}

static void registers_written(void *opaque, unsigned offset, unsigned size)
{
	if (offset + size > PCIEXBAR && offset < PCIEXBAR + 8)
		apply_ecam(opaque);
	if (offset + size > PAM && offset < PAM + PAM_SIZE)
		apply_pam(opaque);
}

void pci_host_bridge_setup(struct pci_bus *bus)
{
	uint8_t *config = bus->host_bridge.function.state.config;

	pci_put32(config, PCIEXBAR, (uint32_t)(PCI_ECAM_BASE | PCIEXBAR_ENABLE));
	config[PAM] = 0x30;
	memset(config + PAM + 1, 0x33, PAM_SIZE - 1);
	apply_ecam(bus);
}

void pci_show_rom(struct pci_bus *bus, const uint8_t *image)
{
	struct pci_host_bridge *bridge = &bus->host_bridge;

	bridge->rom = image;
	bridge->state = (struct pci_host_bridge_state){0};
	memset(bridge->function.state.config + PAM, 0, PAM_SIZE);
	for (unsigned i = 0; i < PCI_PAM_SEGMENTS; i++) {
		show(bus, i, image + segment_start(i));
		guard(bus, i, 0);
	}
}

/* --- the device: what does not fit into configuration space --- */

static struct pci_bus *bus_of(void *device)
{
	struct pci_host_bridge *bridge = container_of(device, struct pci_host_bridge, device);

	return container_of(bridge, struct pci_bus, host_bridge);
}

/* In S3 the PAM registers keep what they say, as QEMU's do: SeaBIOS is woken in the RAM to which it
 * has copied itself. A reset of the machine is followed by pci_show_rom(). */
static void bridge_reset(void *device)
{
	struct pci_bus *bus = bus_of(device);
	uint8_t *config = bus->host_bridge.function.state.config;

	for (unsigned i = 0; i < PCI_PAM_SEGMENTS; i++)
		config[PAM + (i + 1) / 2] |=
			(uint8_t)(bus->host_bridge.state.mode[i] << (i % 2 ? 0 : 4));
	apply_ecam(bus);
}

static void bridge_loaded(void *device)
{
	struct pci_bus *bus = bus_of(device);

	apply_ecam(bus);
	for (unsigned i = 0; bus->host_bridge.rom && i < PCI_PAM_SEGMENTS; i++)
		guard(bus, i, bus->host_bridge.state.mode[i]);
	apply_pam(bus);
}

static const struct state_field bridge_fields[] = {
	STATE_ARRAY(struct pci_host_bridge_state, mode, 0, 3),
	STATE_ARRAY(struct pci_host_bridge_state, shows_ram, 0, 1),
	STATE_ARRAY_ANY(struct pci_host_bridge_state, hidden),
	STATE_END,
};

static const struct device_ops bridge_device = {
	.name = "host-bridge",
	.version = 1,
	.fields = bridge_fields,
	.state_offset =
		offsetof(struct pci_host_bridge, state) - offsetof(struct pci_host_bridge, device),
	.state_size = sizeof(struct pci_host_bridge_state),
	.reset = bridge_reset,
	.loaded = bridge_loaded,
};

const struct pci_description pci_host_bridge = {
	.name = "PCI host bridge",
	.vendor = 0x8086,
	.device = 0x29c0,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x060000,
	.conventional = true,
	.capability_written = registers_written,
};

void pci_host_bridge_init(struct pci_bus *bus)
{
	struct pci_function *function = &bus->host_bridge.function;
	uint8_t bytes[PCI_CONFIG_SIZE] = {[SMRAM] = SMRAM_AT_RESET};
	uint8_t writable[PCI_CONFIG_SIZE] = {0};

	pci_put32(writable, PCIEXBAR, 0xfc000007);
	pci_put32(writable, PCIEXBAR + 4, 0xf);
	writable[PAM] = 0x30;
	memset(writable + PAM + 1, 0x33, PAM_SIZE - 1);
	function->description.opaque = bus;
	pci_add_registers(function, PCIEXBAR, bytes + PCIEXBAR, writable + PCIEXBAR,
		PCI_CONFIG_SIZE - PCIEXBAR);
	device_list_add(bus->config.devices, &bus->host_bridge.device, &bridge_device, 0);
}
