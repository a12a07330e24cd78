/* Reading and changing segment descriptors in the GDT and LDT. */
#include "cpu/descriptor.h"
#include "cpu/access.h"
#include "cpu/mappable.h"
#include "cpu/paging.h"

/* The table a selector points into, and that `size` bytes at it are inside. */
static bool locate(const struct cpu *cpu, uint16_t selector, unsigned size, uint64_t *address)
{
	unsigned offset = selector & ~7u;

	if (selector & SELECTOR_TI) {
		const struct segment *ldt = &cpu->segment[SEG_LDTR];

		if ((ldt->access & AR_UNUSABLE) || offset + size - 1 > ldt->limit)
			return false;
		*address = ldt->base + offset;
	} else {
		if (offset + size - 1 > cpu->gdtr.limit)
			return false;
		*address = cpu->gdtr.base + offset;
	}
	if (!cpu_long_mode(cpu)) {
		*address = (uint32_t)*address;
		return true;
	}
	/* The table's base may have been loaded for 5-level paging. */
	return cpu_canonical(cpu, *address);
}

bool descriptor_read(struct cpu *cpu, uint16_t selector, struct descriptor *out)
{
	out->selector = selector;
	out->high = 0;
	if (!locate(cpu, selector, 8, &out->address))
		return false;
	out->raw = access_load(cpu, out->address, 8, ACCESS_SUPERVISOR);
	return true;
}

void descriptor_require(
	struct cpu *cpu, uint16_t selector, enum vector vector, struct descriptor *out)
{
	if (!descriptor_read(cpu, selector, out))
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(selector));
}

void descriptor_require_high(struct cpu *cpu, struct descriptor *d, enum vector vector)
{
	uint64_t address;

	if (!cpu_long_mode(cpu))
		return;
	if (!locate(cpu, d->selector, 16, &address))
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(d->selector));
	d->high = access_load(cpu, address + 8, 8, ACCESS_SUPERVISOR);
	if (bits_get(d->high, 44, 40))
		cpu_raise_error(cpu, vector, SELECTOR_ERROR(d->selector));
}

struct segment descriptor_segment(const struct descriptor *d)
{
	uint32_t limit = (uint32_t)((d->raw & 0xffff) | (bits_get(d->raw, 51, 48) << 16));

	if (d->raw & BIT(55))
		limit = limit << 12 | 0xfff;
	return (struct segment){
		.base = bits_get(d->raw, 39, 16) | bits_get(d->raw, 63, 56) << 24,
		.limit = limit,
		/* The layout of AR_* is that of descriptor bits 55..40 without the limit. */
		.access = (uint32_t)bits_get(d->raw, 55, 40) & 0xf0ff,
		.selector = d->selector,
	};
}

struct segment descriptor_system_segment(const struct cpu *cpu, const struct descriptor *d)
{
	struct segment segment = descriptor_segment(d);

	if (cpu_long_mode(cpu))
		segment.base |= d->high << 32;
	return segment;
}

struct segment descriptor_null_segment(uint16_t selector, unsigned dpl)
{
	return (struct segment){
		.access = AR_UNUSABLE | dpl << AR_DPL_SHIFT,
		.selector = selector,
	};
}

/* Descriptors are shared between vCPUs, so the type byte is changed by a locked operation. If
 * another vCPU has changed the descriptor since we read it, its change stays, as on real
 * hardware. */
static void change_type(struct cpu *cpu, struct descriptor *d, uint8_t type_byte)
{
	uint64_t linear = d->address + 5;
	uint8_t old = (uint8_t)(d->raw >> 40);
	struct translation page;
	uint8_t *host = NULL;

	access_probe_write(cpu, linear, 1, ACCESS_SUPERVISOR);
	if (paging_walk(cpu, linear, PAGING_WRITE | PAGING_IMPLICIT, &page) == WALKED)
		host = cpu_memory_pointer(cpu, page.gpa);
	if (!host || !memory_page_writable(cpu->memory, memory_page_number(cpu->memory, host))) {
		access_store(cpu, linear, type_byte, 1, ACCESS_SUPERVISOR);
	} else {
		atomic_compare_exchange_strong((_Atomic uint8_t *)host, &old, type_byte);
		access_written(cpu, host, 1);
	}
	d->raw = (d->raw & ~(UINT64_C(0xff) << 40)) | (uint64_t)type_byte << 40;
}

void descriptor_set_accessed(struct cpu *cpu, struct descriptor *d)
{
	if (!(d->raw & BIT(40)))
		change_type(cpu, d, (uint8_t)(d->raw >> 40) | AR_ACCESSED);
}

void descriptor_set_busy(struct cpu *cpu, struct descriptor *d, bool busy)
{
	uint8_t byte = (uint8_t)(d->raw >> 40);

	change_type(cpu, d, busy ? byte | SYS_TSS_BUSY_BIT : byte & ~SYS_TSS_BUSY_BIT);
}
