/* The ACPI tables: checksums and pointers followed as an operating system does, the contents that
 * Linux acts on, and, where Debian's acpica-tools are installed, ACPICA's own opinion of them. */
#include "base/bits.h"
#include "base/log.h"
#include "device/chipset/hpet.h"
#include "device/pci/pci.h"
#include "machine/acpi.h"
#include "machine/aml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER_SIZE 36

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static uint64_t rsdp;

static const uint8_t *guest(uint64_t gpa)
{
	const uint8_t *pointer = memory_ram_pointer(&memory, gpa);

	assert_non_null(pointer);
	return pointer;
}

static uint32_t read32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t read64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint8_t sum(const uint8_t *at, size_t size)
{
	uint8_t total = 0;

	while (size--)
		total += *at++;
	return total;
}

static void build_with(unsigned cpus, bool com2, uint64_t size, unsigned physical_bits)
{
	const struct acpi_config config = {
		.cpu_count = cpus, .com2 = com2, .hpet = true, .pvpanic = com2, .fw_cfg = com2};

	assert_int_equal(memory_create(&memory, size, physical_bits, &lock), 0);
	assert_int_equal(acpi_write_tables(&memory, &config, &rsdp), 0);
}

static void build(unsigned cpus, bool com2)
{
	build_with(cpus, com2, 16 * MIB, 40);
}

/* The table of that signature, found through the XSDT, or through the RSDT. */
static const uint8_t *find_table(const char *signature, bool extended)
{
	const uint8_t *root = guest(extended ? read64(guest(rsdp) + 24) : read32(guest(rsdp) + 16));
	unsigned size = extended ? 8 : 4, offset;
	const uint8_t *table;

	assert_memory_equal(root, extended ? "XSDT" : "RSDT", 4);
	assert_int_equal(sum(root, read32(root + 4)), 0);
	for (offset = HEADER_SIZE; offset < read32(root + 4); offset += size) {
		table = guest(extended ? read64(root + offset) : read32(root + offset));
		assert_int_equal(sum(table, read32(table + 4)), 0);
		if (memcmp(table, signature, 4) == 0)
			return table;
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static void test_root_pointer(void **state)
{
	build(1, false);
	assert_memory_equal(guest(rsdp), "RSD PTR ", 8);
	assert_int_equal(rsdp % 16, 0);
	assert_in_range(rsdp, 0xe0000, 0xfffff);
	assert_int_equal(sum(guest(rsdp), 20), 0);
	assert_int_equal(sum(guest(rsdp), 36), 0);
	assert_int_equal(guest(rsdp)[15], 2);
	assert_ptr_equal(find_table("FACP", true), find_table("FACP", false));
	assert_ptr_equal(find_table("APIC", true), find_table("APIC", false));
	memory_destroy(&memory);
}

static void test_fixed_hardware(void **state)
{
	const uint8_t *fadt, *facs, *dsdt;

	build(1, false);
	fadt = find_table("FACP", true);
	facs = guest(read32(fadt + 36));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal((uintptr_t)facs % 64, 0);
	dsdt = guest(read32(fadt + 40));
	assert_memory_equal(dsdt, "DSDT", 4);
	assert_int_equal(sum(dsdt, read32(dsdt + 4)), 0);
	assert_int_equal(read64(fadt + 140), read32(fadt + 40)); /* X_DSDT */
	assert_int_equal(fadt[46] | fadt[47] << 8, 9);           /* SCI_INT */
	assert_int_equal(read32(fadt + 56), 0x600);              /* PM1a_EVT_BLK */
	assert_int_equal(read32(fadt + 64), 0x604);              /* PM1a_CNT_BLK */
	assert_int_equal(read32(fadt + 76), 0x608);              /* PM_TMR_BLK */
	assert_int_equal(fadt[108], 0x32);                       /* CENTURY */
	assert_int_equal(fadt[109] | fadt[110] << 8, 0x7);       /* legacy devices, 8042, no VGA */
	assert_true(read32(fadt + 112) & 1 << 10);               /* RESET_REG_SUP */
	assert_false(read32(fadt + 112) & 1 << 20);              /* HW_REDUCED_ACPI */
	assert_int_equal(fadt[116], 1);                          /* RESET_REG: an I/O port */
	assert_int_equal(read64(fadt + 120), 0xcf9);
	assert_int_equal(fadt[128], 6); /* RESET_VALUE */
	memory_destroy(&memory);
}

static void test_vga_is_not_denied(void **state)
{
	const struct acpi_config config = {.cpu_count = 1, .vga = true};

	assert_int_equal(memory_create(&memory, 16 * MIB, 40, &lock), 0);
	assert_int_equal(acpi_write_tables(&memory, &config, &rsdp), 0);
	assert_int_equal(find_table("FACP", true)[109], 0x3); /* legacy devices, 8042 */
	memory_destroy(&memory);
}

/* Devices that are described where they are there. */
static void test_devices_of_qemus(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct acpi_config config = {.cpu_count = 1, .pvpanic = i, .fw_cfg = i};
		const uint8_t *dsdt;
		uint32_t size;

		assert_int_equal(memory_create(&memory, 16 * MIB, 40, &lock), 0);
		assert_int_equal(acpi_write_tables(&memory, &config, &rsdp), 0);
		dsdt = guest(read32(find_table("FACP", true) + 40));
		size = read32(dsdt + 4);
		assert_int_equal(memmem(dsdt, size, "\x0dQEMU0001", 10) != NULL, i);
		assert_int_equal(memmem(dsdt, size, "\x0dQEMU0002", 10) != NULL, i);
		memory_destroy(&memory);
	}
}

static void check_madt(unsigned cpus)
{
	const uint8_t *madt, *entry, *end;
	unsigned lapics = 0, ioapics = 0, overrides = 0;

	build(cpus, false);
	madt = find_table("APIC", true);
	end = madt + read32(madt + 4);
	assert_int_equal(read32(madt + 36), 0xfee00000);
	for (entry = madt + 44; entry < end; entry += entry[1]) {
		assert_true(entry[1] >= 2);
		if (entry[0] == 0) {
			assert_int_equal(entry[3], lapics);     /* APIC ID */
			assert_int_equal(read32(entry + 4), 1); /* enabled */
			lapics++;
		} else if (entry[0] == 1) {
			assert_int_equal(read32(entry + 4), 0xfec00000);
			ioapics++;
		} else if (entry[0] == 2 && entry[3] == 0) {
			assert_int_equal(read32(entry + 4), 2); /* IRQ 0 is pin 2 */
			overrides++;
		} else if (entry[0] == 2) {
			assert_int_equal(entry[3], 9); /* SCI: level, active high */
			assert_int_equal(entry[8] | entry[9] << 8, 0xd);
			overrides++;
		}
	}
	assert_ptr_equal(entry, end);
	assert_int_equal(lapics, cpus);
	assert_int_equal(ioapics, 1);
	assert_int_equal(overrides, 2);
	memory_destroy(&memory);
}

static void test_processors(void **state)
{
	check_madt(1);
	check_madt(2);
	check_madt(ACPI_MAX_CPUS);
}

static void test_too_many_processors(void **state)
{
	const struct acpi_config config = {.cpu_count = ACPI_MAX_CPUS + 1};

	assert_int_equal(memory_create(&memory, 16 * MIB, 40, &lock), 0);
	assert_int_not_equal(acpi_write_tables(&memory, &config, &rsdp), 0);
	memory_destroy(&memory);
}

static void test_sleep_packages(void **state)
{
	/* Name (_S3, Package (4) {One, One, Zero, Zero}), Name (_S5, Package (4) {Zero ...}) */
	static const uint8_t expected[] = {0x08, '\\', '_', 'S', '3', '_', 0x12, 0x47, 0x00, 4, 1,
		1, 0, 0, 0x08, '\\', '_', 'S', '5', '_', 0x12, 0x47, 0x00, 4, 0, 0, 0, 0};
	const uint8_t *dsdt;

	build(1, false);
	dsdt = guest(read32(find_table("FACP", true) + 40));
	assert_memory_equal(dsdt + HEADER_SIZE, expected, sizeof(expected));
	memory_destroy(&memory);
}

static void test_waking_vector(void **state)
{
	uint8_t *facs;

	build(1, false);
	facs = (uint8_t *)guest(read32(find_table("FACP", true) + 36));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(facs[32], 0); /* version: no vector of 64 bits */
	assert_int_equal(acpi_waking_vector(&memory), 0);
	memcpy(facs + 12, "\x10\x9a\x00\x00", 4);
	assert_int_equal(acpi_waking_vector(&memory), 0x9a10);
	memcpy(facs + 12, "\x00\x00\x10\x00", 4); /* real mode does not reach it */
	assert_int_equal(acpi_waking_vector(&memory), 0);
	memcpy(facs + 12, "\x10\x9a\x00\x00", 4);
	facs[0] = 'f';
	assert_int_equal(acpi_waking_vector(&memory), 0);
	memory_destroy(&memory);
}

static void test_com2_is_described_where_it_is(void **state)
{
	const uint8_t *dsdt;

	build(1, false);
	dsdt = guest(read32(find_table("FACP", true) + 40));
	assert_non_null(memmem(dsdt, read32(dsdt + 4), "COM1", 4));
	assert_null(memmem(dsdt, read32(dsdt + 4), "COM2", 4));
	assert_null(memmem(dsdt, read32(dsdt + 4), "FDC0", 4));
	memory_destroy(&memory);
	build(1, true);
	dsdt = guest(read32(find_table("FACP", true) + 40));
	assert_non_null(memmem(dsdt, read32(dsdt + 4), "COM2", 4));
	memory_destroy(&memory);
}

static void test_configuration_space(void **state)
{
	const uint8_t *mcfg;

	build(1, false);
	mcfg = find_table("MCFG", true);
	assert_int_equal(read32(mcfg + 4), 60);
	assert_true(read64(mcfg + 44) == PCI_ECAM_BASE);
	assert_int_equal(read32(mcfg + 52), UINT32_C(255) << 24); /* segment 0, buses 0 to 255 */
	memory_destroy(&memory);
}

static void test_hpet(void **state)
{
	const uint8_t *hpet;

	build(1, false);
	hpet = find_table("HPET", true);
	assert_int_equal(read32(hpet + 4), 56);
	assert_int_equal(read32(hpet + 36), HPET_BLOCK_ID);
	assert_int_equal(hpet[40], 0); /* memory */
	assert_true(read64(hpet + 44) == HPET_BASE);
	memory_destroy(&memory);
}

/* QWordMemory: all that is in the DSDT, one at most. NULL: there is none. */
static const uint8_t *window64(void)
{
	static const uint8_t begin[] = {0x8a, 0x2b, 0, 0, 0xc, 1};
	const uint8_t *dsdt = guest(read32(find_table("FACP", true) + 40));

	return memmem(dsdt, read32(dsdt + 4), begin, sizeof(begin));
}

/* The window for 64-bit BARs lies above RAM, where the processor's addresses reach. */
static void test_window_above_memory(void **state)
{
	build_with(1, false, 16 * MIB, 40);
	assert_true(read64(window64() + 14) == 64 * GIB);
	assert_true(read64(window64() + 22) == 128 * GIB - 1);
	assert_true(read64(window64() + 38) == 64 * GIB);
	memory_destroy(&memory);
	build_with(1, false, 100 * GIB, 40);
	assert_true(read64(window64() + 14) == 128 * GIB);
	memory_destroy(&memory);
	build_with(1, false, 16 * MIB, 36);
	assert_null(window64());
	memory_destroy(&memory);
}

static void test_aml_lengths(void **state)
{
	uint8_t buffer[64];
	struct aml aml = {.start = buffer, .next = buffer, .end = buffer + sizeof(buffer)};
	/* Device (ABCD) { Name (_HID, EisaId ("PNP0501")) Name (_CRS, Buffer (10) {IO, end}) } */
	static const uint8_t expected[] = {0x5b, 0x82, 0x44, 0x02, 'A', 'B', 'C', 'D', 0x08, '_',
		'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x05, 0x01, 0x08, '_', 'C', 'R', 'S', 0x11, 0x4e,
		0x00, 0x0a, 10, 0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8, 0x79, 0};

	aml_device(&aml, "ABCD");
	aml_name(&aml, "_HID");
	aml_eisa_id(&aml, "PNP0501");
	aml_resources(&aml);
	aml_io(&aml, 0x3f8, 8);
	aml_close_resources(&aml);
	aml_close(&aml);
	assert_false(aml.overflow);
	assert_int_equal(aml.next - buffer, sizeof(expected));
	assert_memory_equal(buffer, expected, sizeof(expected));
}

static void test_aml_overflow(void **state)
{
	uint8_t buffer[64];
	struct aml aml;
	size_t size;

	for (size = 0; size < sizeof(buffer); size++) {
		memset(buffer, 0xee, sizeof(buffer));
		aml = (struct aml){.start = buffer, .next = buffer, .end = buffer + size};
		aml_device(&aml, "ABCD");
		aml_resources(&aml);
		aml_io(&aml, 0x3f8, 8);
		aml_irq(&aml, 4);
		aml_close_resources(&aml);
		aml_close(&aml);
		assert_int_equal(aml.overflow, size < 31);
		assert_int_equal(buffer[MAX(size, 31)], 0xee);
	}
}

static void write_table(const char *directory, const char *name, const uint8_t *table)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(table, 1, read32(table + 4), file), read32(table + 4));
	fclose(file);
}

/* Disassemble and compile again: ACPICA reports what it finds wrong in either direction. */
static void test_acpica_agrees(void **state)
{
	char directory[] = "/tmp/veneer-acpi-XXXXXX", command[1024];

	if (system("command -v iasl >/dev/null 2>&1") != 0)
		skip();
	build(4, true);
	assert_non_null(mkdtemp(directory));
	write_table(directory, "dsdt.aml", guest(read32(find_table("FACP", true) + 40)));
	write_table(directory, "facp.aml", find_table("FACP", true));
	write_table(directory, "apic.aml", find_table("APIC", true));
	write_table(directory, "mcfg.aml", find_table("MCFG", true));
	write_table(directory, "hpet.aml", find_table("HPET", true));
	snprintf(command, sizeof(command),
		"cd %s && { iasl -d dsdt.aml facp.aml apic.aml mcfg.aml hpet.aml && iasl dsdt.dsl; "
		"} >log "
		"2>&1 && "
		"grep -q '0 Errors, 0 Warnings' log && ! grep -qi 'invalid\\|error:' log && "
		"grep -q 'EisaId (\"PNP0501\")' dsdt.dsl && "
		"grep -q 'EisaId (\"PNP0A08\")' dsdt.dsl && grep -q '_S5' dsdt.dsl || "
		"{ cat log >&2; false; }; status=$?; rm -rf %s; exit $status",
		directory, directory);
	assert_int_equal(system(command), 0);
	memory_destroy(&memory);
}

/* --- files for firmware --- */

#define PLACE_RSDP   UINT64_C(0xf5000)
#define PLACE_TABLES UINT64_C(0x40000)

static uint8_t *place_of(const uint8_t *file)
{
	bool is_rsdp = strcmp((const char *)file, "etc/acpi/rsdp") == 0;

	assert_true(is_rsdp || strcmp((const char *)file, "etc/acpi/tables") == 0);
	return memory.ram + (is_rsdp ? PLACE_RSDP : PLACE_TABLES);
}

/* What firmware does with a row of the loader's file. */
static void follow(const uint8_t row[128])
{
	uint64_t value = 0;
	uint8_t *at;

	switch (read32(row)) {
	case 0: /* nothing */
	case 1: /* a place for a file; it has one */
		break;
	case 2:
		at = place_of(row + 4) + read32(row + 116);
		memcpy(&value, at, row[120]);
		value += (uint64_t)(place_of(row + 60) - memory.ram);
		memcpy(at, &value, row[120]);
		break;
	case 3:
		at = place_of(row + 4);
		/* SeaBIOS subtracts the sum, OVMF puts its negative there. */
		assert_int_equal(at[read32(row + 60)], 0);
		at[read32(row + 60)] -= sum(at + read32(row + 64), read32(row + 68));
		break;
	default:
		fail_msg("command %u", read32(row));
	}
}

static void test_loaded_by_firmware(void **state)
{
	const struct acpi_config config = {.cpu_count = 3, .ecam = UINT64_C(0xb0000000)};
	const uint8_t *root, *xsdt, *table;
	struct acpi_files files;
	bool mcfg = false;

	build(1, false);
	assert_int_equal(acpi_build_files(&memory, &config, &files), 0);
	memcpy(memory.ram + PLACE_RSDP, files.rsdp, sizeof(files.rsdp));
	memcpy(memory.ram + PLACE_TABLES, files.tables, sizeof(files.tables));
	for (unsigned i = 0; i < ACPI_LOADER_ROWS; i++)
		follow(files.loader[i].bytes);
	root = guest(PLACE_RSDP);
	assert_int_equal(sum(root, 20), 0);
	assert_int_equal(sum(root, 36), 0);
	assert_memory_equal(guest(read32(root + 16)), "RSDT", 4);
	xsdt = guest(read64(root + 24));
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, read32(xsdt + 4)), 0);
	for (unsigned at = HEADER_SIZE; at < read32(xsdt + 4); at += 8) {
		table = guest(read64(xsdt + at));
		assert_int_equal(sum(table, read32(table + 4)), 0);
		if (memcmp(table, "FACP", 4) == 0) {
			assert_memory_equal(guest(read32(table + 36)), "FACS", 4);
			assert_int_equal(read32(table + 36) % 64, 0);
			assert_memory_equal(guest(read64(table + 140)), "DSDT", 4);
		}
		if (memcmp(table, "MCFG", 4) == 0) {
			mcfg = true;
			assert_true(read64(table + 44) == config.ecam);
		}
	}
	assert_true(mcfg);
	memory_destroy(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root_pointer),
		cmocka_unit_test(test_fixed_hardware),
		cmocka_unit_test(test_vga_is_not_denied),
		cmocka_unit_test(test_devices_of_qemus),
		cmocka_unit_test(test_processors),
		cmocka_unit_test(test_too_many_processors),
		cmocka_unit_test(test_sleep_packages),
		cmocka_unit_test(test_waking_vector),
		cmocka_unit_test(test_com2_is_described_where_it_is),
		cmocka_unit_test(test_configuration_space),
		cmocka_unit_test(test_hpet),
		cmocka_unit_test(test_window_above_memory),
		cmocka_unit_test(test_aml_lengths),
		cmocka_unit_test(test_aml_overflow),
		cmocka_unit_test(test_acpica_agrees),
		cmocka_unit_test(test_loaded_by_firmware),
	};

	return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
