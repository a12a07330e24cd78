/* RSDP ---> XSDT ---> FADT ---> FACS, DSDT
 *      \--> RSDT  |-> MADT
 *                 |-> MCFG
 *                 \-> HPET
 *
 * The tables are built one after another in a buffer that will lie at LAYOUT_BIOS, so an address in
 * a table is LAYOUT_BIOS plus an offset in the buffer. The RSDP is on a 16-byte boundary between
 * 0xe0000 and 0xfffff, where systems that are not told where it is look for it (5.2.5.1). */
#include "machine/acpi.h"

#include "base/log.h"
#include "device/chipset/acpi_pm.h"
#include "device/chipset/hpet.h"
#include "device/chipset/i8042.h"
#include "device/chipset/ioapic.h"
#include "device/chipset/lapic.h"
#include "device/chipset/rtc.h"
#include "device/chipset/uart16550.h"
#include "device/storage/floppy.h"
#include "device/fw_cfg.h"
#include "device/pci/pci.h"
#include "device/pvpanic.h"
#include "machine/acpi_pci.h"
#include "machine/aml.h"
#include "machine/layout.h"

#include <errno.h>
#include <string.h>

#define TABLES_SIZE (ACPI_TABLES_SIZE + TABLES_START)

/* The RSDP is in front of the tables, which begin here. */
#define TABLES_START 64

/* A place that depends on where the tables are: an address, or a checksum. */
struct place {
	size_t at;
	size_t start, length; /* that a checksum is of; length 0: an address of `size` bytes */
	uint8_t size;
};

#define MOST_PLACES (ACPI_LOADER_ROWS - 2)

struct tables {
	uint8_t bytes[TABLES_SIZE];
	size_t used;
	uint64_t base; /* the address of bytes[0] */
	struct place places[MOST_PLACES];
	unsigned place_count;
};

struct table_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

/* A register's place (5.2.3.2). */
struct generic_address {
	uint8_t space; /* 1: I/O ports */
	uint8_t bit_width, bit_offset;
	uint8_t access_size; /* 1: byte, 2: word, 3: double word */
	uint64_t address;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

struct facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} __attribute__((packed));

/* Field names are the specification's (5.2.9). */
struct fadt {
	struct table_header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk;
	uint32_t pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len;
	uint8_t gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct generic_address reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct generic_address x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk;
	struct generic_address x_pm2_cnt_blk, x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk;
	struct generic_address sleep_control_reg, sleep_status_reg;
	uint64_t hypervisor_vendor;
} __attribute__((packed));

_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6");

enum { /* FADT flags (table 5.10) */
	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2, /* HLT works on all processors */
	FADT_NO_FIXED_SLEEP_BUTTON = 1 << 5,
	FADT_TIMER_32_BITS = 1 << 8,
	FADT_RESET_REGISTER = 1 << 10,
};

enum { /* FADT IA-PC boot architecture (table 5.11) */
	BOOT_ARCH_LEGACY_DEVICES = 1 << 0,
	BOOT_ARCH_8042 = 1 << 1,
	BOOT_ARCH_NO_VGA = 1 << 2,
};

struct madt {
	struct table_header header;
	uint32_t local_apic_address;
	uint32_t flags; /* bit 0: there is a PIC pair as well */
} __attribute__((packed));

struct madt_local_apic {
	uint8_t type, length, processor_uid, apic_id;
	uint32_t flags; /* bit 0: enabled */
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} __attribute__((packed));

struct madt_source_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

struct madt_local_nmi {
	uint8_t type, length, processor_uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

enum { /* MADT structure types (table 5.21) */
	MADT_LOCAL_APIC = 0,
	MADT_IOAPIC = 1,
	MADT_SOURCE_OVERRIDE = 2,
	MADT_LOCAL_NMI = 4,
};

/* PCI Firmware 3.0, 4.1.2. */
struct mcfg {
	struct table_header header;
	uint64_t reserved;
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved2;
} __attribute__((packed));

/* IA-PC HPET specification 3.2.4. */
struct hpet_table {
	struct table_header header;
	uint32_t block_id;
	struct generic_address base;
	uint8_t number;
	uint16_t shortest_period; /* ticks in which a periodic interrupt gets lost */
	uint8_t attributes;
} __attribute__((packed));

#define MADT_ACTIVE_HIGH_LEVEL 0xd /* "MPS INTI flags": polarity 01, trigger mode 11 */

static uint8_t checksum(const void *bytes, size_t size)
{
	const uint8_t *byte = bytes;
	uint8_t sum = 0;

	while (size--)
		sum += *byte++;
	return (uint8_t)-sum;
}

/* Room for a structure, zeroed. The tables' total is bounded by ACPI_MAX_CPUS. */
static void *reserve(struct tables *tables, size_t size, size_t alignment)
{
	size_t at = ALIGN_UP(tables->used, alignment);

	if (size > TABLES_SIZE - at)
		return NULL;
	tables->used = at + size;
	return tables->bytes + at;
}

static uint64_t address_of(const struct tables *tables, const void *table)
{
	return tables->base + (uint64_t)((const uint8_t *)table - tables->bytes);
}

static void note_place(struct tables *tables, struct place place)
{
	if (tables->place_count < MOST_PLACES)
		tables->places[tables->place_count] = place;
	tables->place_count++;
}

static void note_address(struct tables *tables, const void *field, uint8_t size)
{
	note_place(tables, (struct place){.at = (size_t)((const uint8_t *)field - tables->bytes),
				   .size = size});
}

static void note_checksum(
	struct tables *tables, const void *checksum, const void *start, size_t length)
{
	note_place(tables, (struct place){.at = (size_t)((const uint8_t *)checksum - tables->bytes),
				   .start = (size_t)((const uint8_t *)start - tables->bytes),
				   .length = length});
}

/* Fill in the common header and, last, the checksum, when the table is complete. */
static void finish_table(struct tables *tables, struct table_header *header, const char *signature,
	size_t length, uint8_t revision)
{
	*header = (struct table_header){.length = (uint32_t)length,
		.revision = revision,
		.oem_id = {'V', 'E', 'N', 'E', 'E', 'R'},
		.oem_table_id = {'V', 'E', 'N', 'E', 'E', 'R', 'P', 'C'},
		.oem_revision = 1,
		.creator_id = {'V', 'N', 'R', ' '},
		.creator_revision = 1};
	memcpy(header->signature, signature, 4);
	header->checksum = checksum(header, length);
	note_checksum(tables, &header->checksum, header, length);
}

struct legacy_device {
	const char *name;
	const char *hid; /* an EISA ID, or one of QEMU's, which is too long for that */
	struct {
		uint16_t port;
		uint8_t count;
	} io[3];
	int irq; /* -1: none */
	int dma; /* channel; 0: none */
};

static const struct legacy_device legacy_devices[] = {
	{"RTC_", "PNP0B00", {{0x70, 2}}, 8, 0},
	{"KBD_", "PNP0303", {{0x60, 1}, {0x64, 1}}, 1, 0},
	{"MOU_", "PNP0F13", {{0}}, 12, 0}, /* its ports are the keyboard's */
	{"COM1", "PNP0501", {{UART_COM1_PORT, 8}}, UART_COM1_IRQ, 0},
	{"COM2", "PNP0501", {{UART_COM2_PORT, 8}}, UART_COM2_IRQ, 0},
	{"COM3", "PNP0501", {{UART_COM3_PORT, 8}}, UART_COM1_IRQ, 0},
	{"COM4", "PNP0501", {{UART_COM4_PORT, 8}}, UART_COM2_IRQ, 0},
	{"DMAC", "PNP0200", {{0x00, 16}, {0x80, 16}, {0xc0, 32}}, -1, 0},
	{"FDC0", "PNP0700", {{0x3f0, 6}, {0x3f7, 1}}, FLOPPY_IRQ, FLOPPY_DMA_CHANNEL},
	{"PEVT", "QEMU0001", {{PVPANIC_PORT, 1}}, -1, 0},
	{"FWCF", "QEMU0002", {{FW_CFG_PORT, 12}}, -1, 0},
};

static bool is_there(const struct acpi_config *config, const struct legacy_device *device)
{
	const struct {
		const char *name;
		bool there;
	} options[] = {{"COM2", config->com2}, {"COM3", config->com3}, {"COM4", config->com4},
		{"FDC0", config->floppy}, {"PEVT", config->pvpanic}, {"FWCF", config->fw_cfg}};

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		if (strcmp(options[i].name, device->name) == 0)
			return options[i].there;
	return true;
}

static void describe_device(struct aml *aml, const struct legacy_device *device)
{
	unsigned i;

	aml_device(aml, device->name);
	aml_name(aml, "_HID");
	if (strncmp(device->hid, "QEMU", 4) == 0)
		aml_string(aml, device->hid);
	else
		aml_eisa_id(aml, device->hid);
	if (strncmp(device->name, "COM", 3) == 0) {
		aml_name(aml, "_UID");
		aml_integer(aml, (uint32_t)(device->name[3] - '0'));
	}
	aml_resources(aml);
	for (i = 0; i < ARRAY_SIZE(device->io) && device->io[i].count; i++)
		aml_io(aml, device->io[i].port, device->io[i].count);
	if (device->irq >= 0)
		aml_irq(aml, (unsigned)device->irq);
	if (device->dma)
		aml_dma(aml, (unsigned)device->dma);
	aml_close_resources(aml);
	aml_close(aml);
}

/* As Name (\_S3, Package () {1, 1, 0, 0}): SLP_TYP for PM1a and PM1b control (7.4.2). */
static void describe_sleep(struct aml *aml, const char *name, uint32_t type)
{
	aml_name(aml, name);
	aml_package(aml, 4);
	aml_integer(aml, type);
	aml_integer(aml, type);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_close(aml);
}

/* The DSDT: devices that cannot be discovered, and the values for sleep and for power-off. */
static struct table_header *write_dsdt(
	struct tables *tables, const struct acpi_config *config, const struct memory *memory)
{
	struct table_header *header = reserve(tables, sizeof(*header), 16);
	struct aml aml;
	unsigned i;

	if (!header)
		return NULL;
	aml = (struct aml){.start = (uint8_t *)(header + 1),
		.next = (uint8_t *)(header + 1),
		.end = tables->bytes + TABLES_SIZE};

	describe_sleep(&aml, "\\_S3_", ACPI_SLEEP_TYPE_S3);
	describe_sleep(&aml, "\\_S5_", ACPI_SLEEP_TYPE_S5);
	aml_scope(&aml, "\\_SB_");
	for (i = 0; i < ARRAY_SIZE(legacy_devices); i++)
		if (is_there(config, &legacy_devices[i]))
			describe_device(&aml, &legacy_devices[i]);
	acpi_describe_pci(&aml, memory, config->ecam);
	aml_close(&aml);
	if (aml.overflow)
		return NULL;
	tables->used = (size_t)(aml.next - tables->bytes);
	finish_table(tables, header, "DSDT", (size_t)(aml.next - (uint8_t *)header), 2);
	return header;
}

static struct facs *write_facs(struct tables *tables)
{
	struct facs *facs = reserve(tables, sizeof(*facs), 64);

	if (!facs)
		return NULL;
	/* Version 0 has no waking vector of 64 bits, for which there would be two more modes to
	 * start in. */
	*facs = (struct facs){.signature = {'F', 'A', 'C', 'S'}, .length = sizeof(*facs)};
	return facs;
}

static struct generic_address io_register(uint16_t port, uint8_t bytes, uint8_t access_size)
{
	return (struct generic_address){
		.space = 1, .bit_width = bytes * 8, .access_size = access_size, .address = port};
}

static void fill_fixed_hardware(struct fadt *fadt)
{
	fadt->sci_int = ACPI_SCI_IRQ;
	fadt->smi_cmd = ACPI_SMI_COMMAND_PORT;
	fadt->acpi_enable = ACPI_ENABLE_VALUE;
	fadt->acpi_disable = ACPI_DISABLE_VALUE;
	fadt->pm1a_evt_blk = ACPI_PM1_EVENT_PORT;
	fadt->pm1a_cnt_blk = ACPI_PM1_CONTROL_PORT;
	fadt->pm_tmr_blk = ACPI_PM_TIMER_PORT;
	fadt->gpe0_blk = ACPI_GPE0_PORT;
	fadt->pm1_evt_len = ACPI_PM1_EVENT_SIZE;
	fadt->pm1_cnt_len = ACPI_PM1_CONTROL_SIZE;
	fadt->pm_tmr_len = ACPI_PM_TIMER_SIZE;
	fadt->gpe0_blk_len = ACPI_GPE0_SIZE;
	fadt->x_pm1a_evt_blk = io_register(ACPI_PM1_EVENT_PORT, ACPI_PM1_EVENT_SIZE, 2);
	fadt->x_pm1a_cnt_blk = io_register(ACPI_PM1_CONTROL_PORT, ACPI_PM1_CONTROL_SIZE, 2);
	fadt->x_pm_tmr_blk = io_register(ACPI_PM_TIMER_PORT, ACPI_PM_TIMER_SIZE, 3);
	fadt->x_gpe0_blk = io_register(ACPI_GPE0_PORT, ACPI_GPE0_SIZE, 1);
	fadt->reset_reg = io_register(ACPI_RESET_PORT, 1, 1);
	fadt->reset_value = ACPI_RESET_VALUE;
}

static struct fadt *write_fadt(
	struct tables *tables, const struct acpi_config *config, uint64_t facs, uint64_t dsdt)
{
	struct fadt *fadt = reserve(tables, sizeof(*fadt), 16);

	if (!fadt)
		return NULL;
	memset(fadt, 0, sizeof(*fadt));
	fadt->firmware_ctrl = (uint32_t)facs;
	fadt->dsdt = (uint32_t)dsdt;
	fadt->x_dsdt = dsdt;
	note_address(tables, &fadt->firmware_ctrl, 4);
	note_address(tables, &fadt->dsdt, 4);
	note_address(tables, &fadt->x_dsdt, 8);
	fill_fixed_hardware(fadt);
	/* Latencies this high say that there is no C2 and no C3 state. */
	fadt->p_lvl2_lat = 0xfff;
	fadt->p_lvl3_lat = 0xfff;
	fadt->century = RTC_CMOS_CENTURY;
	fadt->iapc_boot_arch =
		BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_8042 | (config->vga ? 0 : BOOT_ARCH_NO_VGA);
	fadt->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_FIXED_SLEEP_BUTTON | FADT_TIMER_32_BITS |
		      FADT_RESET_REGISTER;
	fadt->minor_version = 4;
	finish_table(tables, &fadt->header, "FACP", sizeof(*fadt), 6);
	return fadt;
}

static struct madt *write_madt(struct tables *tables, const struct acpi_config *config)
{
	struct madt *madt = reserve(tables, sizeof(*madt), 16);
	struct madt_local_apic *lapics = reserve(tables, config->cpu_count * sizeof(*lapics), 1);
	struct madt_ioapic *ioapic = reserve(tables, sizeof(*ioapic), 1);
	struct madt_source_override *overrides = reserve(tables, 2 * sizeof(*overrides), 1);
	struct madt_local_nmi *nmi = reserve(tables, sizeof(*nmi), 1);
	unsigned i;

	if (!madt || !lapics || !ioapic || !overrides || !nmi)
		return NULL;
	madt->local_apic_address = (uint32_t)LAPIC_DEFAULT_BASE;
	madt->flags = 1;
	for (i = 0; i < config->cpu_count; i++)
		lapics[i] = (struct madt_local_apic){
			MADT_LOCAL_APIC, sizeof(lapics[i]), (uint8_t)i, (uint8_t)i, 1};
	*ioapic =
		(struct madt_ioapic){MADT_IOAPIC, sizeof(*ioapic), 0, 0, (uint32_t)IOAPIC_BASE, 0};
	/* The PIT is on pin 2; ACPI's own interrupt is level-triggered, and active high here. */
	overrides[0] = (struct madt_source_override){
		MADT_SOURCE_OVERRIDE, sizeof(overrides[0]), 0, 0, 2, 0};
	overrides[1] = (struct madt_source_override){MADT_SOURCE_OVERRIDE, sizeof(overrides[1]), 0,
		ACPI_SCI_IRQ, ACPI_SCI_IRQ, MADT_ACTIVE_HIGH_LEVEL};
	*nmi = (struct madt_local_nmi){MADT_LOCAL_NMI, sizeof(*nmi), 0xff, 0, 1};
	finish_table(
		tables, &madt->header, "APIC", (size_t)((uint8_t *)(nmi + 1) - (uint8_t *)madt), 5);
	return madt;
}

static uint64_t ecam_base(const struct acpi_config *config)
{
	return config->ecam ? config->ecam : PCI_ECAM_BASE;
}

static struct mcfg *write_mcfg(struct tables *tables, const struct acpi_config *config)
{
	struct mcfg *mcfg = reserve(tables, sizeof(*mcfg), 16);

	if (!mcfg)
		return NULL;
	*mcfg = (struct mcfg){.base = ecam_base(config), .last_bus = ACPI_LAST_BUS};
	finish_table(tables, &mcfg->header, "MCFG", sizeof(*mcfg), 1);
	return mcfg;
}

static struct hpet_table *write_hpet(struct tables *tables)
{
	struct hpet_table *hpet = reserve(tables, sizeof(*hpet), 16);

	if (!hpet)
		return NULL;
	hpet->block_id = HPET_BLOCK_ID;
	hpet->base = (struct generic_address){.bit_width = 64, .address = HPET_BASE};
	hpet->shortest_period = HPET_SHORTEST_TICKS;
	finish_table(tables, &hpet->header, "HPET", sizeof(*hpet), 1);
	return hpet;
}

/* RSDT and XSDT list the same tables, in 4 and in 8 bytes each. */
static struct table_header *write_root(
	struct tables *tables, bool extended, const uint64_t *addresses, unsigned count)
{
	size_t entry_size = extended ? 8 : 4;
	size_t length = sizeof(struct table_header) + count * entry_size;
	struct table_header *header = reserve(tables, length, 16);
	uint8_t *entry = (uint8_t *)(header + 1);
	unsigned i;

	if (!header)
		return NULL;
	for (i = 0; i < count; i++, entry += entry_size) {
		memcpy(entry, &addresses[i], entry_size);
		note_address(tables, entry, (uint8_t)entry_size);
	}
	finish_table(tables, header, extended ? "XSDT" : "RSDT", length, 1);
	return header;
}

static void fill_rsdp(struct tables *tables, struct rsdp *rsdp, uint64_t rsdt, uint64_t xsdt)
{
	*rsdp = (struct rsdp){.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
		.oem_id = {'V', 'E', 'N', 'E', 'E', 'R'},
		.revision = 2,
		.rsdt = (uint32_t)rsdt,
		.length = sizeof(*rsdp),
		.xsdt = xsdt};
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	note_address(tables, &rsdp->rsdt, 4);
	note_address(tables, &rsdp->xsdt, 8);
	note_checksum(tables, &rsdp->checksum, rsdp, 20);
	note_checksum(tables, &rsdp->extended_checksum, rsdp, sizeof(*rsdp));
}

/* False where TABLES_SIZE is too small. */
static bool build_tables(
	struct tables *tables, const struct acpi_config *config, const struct memory *memory)
{
	struct rsdp *rsdp = reserve(tables, sizeof(*rsdp), 16);
	/* On a boundary of 64 bytes, and so at TABLES_START. */
	struct facs *facs = write_facs(tables);
	struct table_header *dsdt = write_dsdt(tables, config, memory), *rsdt, *xsdt;
	struct fadt *fadt;
	struct madt *madt = write_madt(tables, config);
	struct mcfg *mcfg = write_mcfg(tables, config);
	struct hpet_table *hpet = config->hpet ? write_hpet(tables) : NULL;
	uint64_t listed[4];
	unsigned count = 3;

	if (!rsdp || !facs || !dsdt || !madt || !mcfg || (config->hpet && !hpet))
		return false;
	fadt = write_fadt(tables, config, address_of(tables, facs), address_of(tables, dsdt));
	if (!fadt)
		return false;
	listed[0] = address_of(tables, fadt);
	listed[1] = address_of(tables, madt);
	listed[2] = address_of(tables, mcfg);
	if (hpet)
		listed[count++] = address_of(tables, hpet);
	rsdt = write_root(tables, false, listed, count);
	xsdt = write_root(tables, true, listed, count);
	if (!rsdt || !xsdt)
		return false;
	fill_rsdp(tables, rsdp, address_of(tables, rsdt), address_of(tables, xsdt));
	return true;
}

static int build(
	struct tables *tables, const struct acpi_config *config, const struct memory *memory)
{
	if (config->cpu_count <= ACPI_MAX_CPUS && build_tables(tables, config, memory) &&
		tables->place_count <= MOST_PLACES)
		return 0;
	log_error("the ACPI tables have no room for %u processors", config->cpu_count);
	return -ENOSPC;
}

int acpi_write_tables(struct memory *memory, const struct acpi_config *config, uint64_t *rsdp)
{
	struct tables tables = {.base = LAYOUT_BIOS};
	int error = build(&tables, config, memory);

	if (error)
		return error;
	*rsdp = LAYOUT_BIOS;
	return memory_write(memory, LAYOUT_BIOS, tables.bytes, tables.used);
}

/* The FACS is on the first boundary of 64 bytes. */
uint32_t acpi_waking_vector(const struct memory *memory)
{
	struct facs facs;

	if (memory_read(memory, LAYOUT_BIOS + TABLES_START, &facs, sizeof(facs)) < 0 ||
		memcmp(facs.signature, "FACS", 4) != 0 || facs.waking_vector >= MIB)
		return 0;
	return facs.waking_vector;
}

/* --- files for firmware --- */

#define RSDP_FILE   "etc/acpi/rsdp"
#define TABLES_FILE "etc/acpi/tables"

enum loader_command { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum loader_zone { LOADER_HIGH = 1, LOADER_BELOW_1M = 2 };

struct loader_row {
	uint32_t command;
	union {
		struct {
			char file[56];
			uint32_t alignment;
			uint8_t zone;
		} __attribute__((packed)) allocate;
		struct {
			char file[56], target[56];
			uint32_t offset;
			uint8_t size;
		} __attribute__((packed)) pointer;
		struct {
			char file[56];
			uint32_t offset, start, length;
		} __attribute__((packed)) checksum;
	};
} __attribute__((packed));

_Static_assert(sizeof(struct loader_row) <= sizeof(struct acpi_loader_row), "a row has room");

static void put_row(struct acpi_loader_row *to, const struct loader_row *row)
{
	memcpy(to->bytes, row, sizeof(*row));
}

/* Addresses before checksums, which are of bytes that have addresses among them. */
static void put_places(const struct tables *tables, struct acpi_loader_row **next, bool checksums)
{
	for (unsigned i = 0; i < tables->place_count; i++) {
		const struct place *place = &tables->places[i];
		bool rsdp = place->at < TABLES_START;
		uint32_t before = rsdp ? 0 : TABLES_START;
		const char *file = rsdp ? RSDP_FILE : TABLES_FILE;
		struct loader_row row = {0};

		if (checksums != (place->length != 0))
			continue;
		if (checksums) {
			row.command = LOADER_ADD_CHECKSUM;
			strcpy(row.checksum.file, file);
			row.checksum.offset = (uint32_t)place->at - before;
			row.checksum.start = (uint32_t)place->start - before;
			row.checksum.length = (uint32_t)place->length;
		} else {
			row.command = LOADER_ADD_POINTER;
			strcpy(row.pointer.file, file);
			strcpy(row.pointer.target, TABLES_FILE);
			row.pointer.offset = (uint32_t)place->at - before;
			row.pointer.size = place->size;
		}
		put_row((*next)++, &row);
	}
}

/* OVMF's sums have the byte in them that the checksum is put to. */
static void clear_checksums(struct tables *tables)
{
	for (unsigned i = 0; i < tables->place_count; i++)
		if (tables->places[i].length)
			tables->bytes[tables->places[i].at] = 0;
}

int acpi_build_files(
	const struct memory *memory, const struct acpi_config *config, struct acpi_files *files)
{
	struct tables tables = {.base = -(uint64_t)TABLES_START};
	struct acpi_loader_row *next = files->loader;
	int error = build(&tables, config, memory);

	_Static_assert(sizeof(struct rsdp) == ACPI_RSDP_SIZE, "all of it is in the file");
	if (error)
		return error;
	clear_checksums(&tables);
	memset(files, 0, sizeof(*files));
	memcpy(files->rsdp, tables.bytes, sizeof(files->rsdp));
	memcpy(files->tables, tables.bytes + TABLES_START, sizeof(files->tables));
	put_row(next++, &(struct loader_row){.command = LOADER_ALLOCATE,
				.allocate = {RSDP_FILE, 16, LOADER_BELOW_1M}});
	put_row(next++, &(struct loader_row){.command = LOADER_ALLOCATE,
				.allocate = {TABLES_FILE, 64, LOADER_HIGH}});
	put_places(&tables, &next, false);
	put_places(&tables, &next, true);
	return 0;
}
