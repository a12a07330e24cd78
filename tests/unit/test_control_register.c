/* Control registers, EFER, XCR0, and the flag instructions: what a guest may set in which state. */
#include "cpu/cpuid.h"
#include "cpu_fixture.h"

#define assert_gp(code) assert_raises(VECTOR_GP, 0, code)

/* --- CR0 --- */

static void cr0_consistency(void **state)
{
	assert_gp(control_register_write(cpu, 0, CR0_PG)); /* without PE */
	assert_gp(control_register_write(cpu, 0, CR0_NW)); /* without CD */
	assert_completes(control_register_write(cpu, 0, 0));
	assert_int_equal(control_register_read(cpu, 0), CR0_ET); /* always there */
	enter_long(0);
	assert_gp(control_register_write(cpu, 0, cpu->cr0 | BIT(32)));
	assert_gp(control_register_write(cpu, 0, cpu->cr0 & ~CR0_PG)); /* from 64-bit code */
	assert_completes(
		control_register_write(cpu, 0, cpu->cr0 | BIT(6))); /* reserved low bits: ignored */
	assert_int_equal(cpu->cr0 & BIT(6), 0);
	set_privilege(3);
	assert_gp(control_register_read(cpu, 0));
	assert_gp(control_register_write(cpu, 0, cpu->cr0));
}

static void no_such_register(void **state)
{
	for (volatile unsigned n = 0; n < 16; n++)
		if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8)
			assert_raises(VECTOR_UD, 0, control_register_write(cpu, n, 0));
}

/* The steps of a 64-bit kernel's start, each with what is missing. */
static void into_long_mode_and_out(void **state)
{
	uint64_t cr0;

	enter_long(0); /* builds tables and GDT */
	cpu->cr0 &= ~CR0_PG;
	cpu->efer = 0;
	cpu->cr4 = 0;
	load_segment(SEG_CS, CODE0_32);
	cr0 = cpu->cr0 | CR0_PG;
	assert_true(msr_write(cpu, 0xc0000080, EFER_LME));
	assert_gp(control_register_write(cpu, 0, cr0)); /* no PAE */
	assert_completes(control_register_write(cpu, 4, CR4_PAE));
	cpu->segment[SEG_CS].access |= AR_L;
	assert_gp(control_register_write(cpu, 0, cr0)); /* CS.L */
	cpu->segment[SEG_CS].access &= ~AR_L;
	cpu->segment[SEG_TR].access = AR_P | SYS_TSS16_BUSY;
	assert_gp(control_register_write(cpu, 0, cr0));
	cpu->segment[SEG_TR].access = AR_P | SYS_TSS32_BUSY;
	assert_completes(control_register_write(cpu, 0, cr0));
	assert_true(cpu_long_mode(cpu));
	assert_false(cpu_code64(cpu));
	assert_false(msr_write(cpu, 0xc0000080, 0));  /* LME cannot change under paging */
	assert_gp(control_register_write(cpu, 4, 0)); /* nor PAE */
	assert_completes(control_register_write(cpu, 0, cr0 & ~CR0_PG));
	assert_false(cpu_long_mode(cpu));
	assert_true(cpu->efer & EFER_LME);
	cpu->efer = 0;
	cpu->cr0 |= CR0_PG;
	assert_false(msr_write(cpu, 0xc0000080, EFER_LME)); /* not even where it is 32-bit paging */
}

static void pcid_keeps_paging_on(void **state)
{
	enter_long(0);
	if (!(cpu->model->cr4 & CR4_PCIDE))
		skip();
	cpu->cr3 |= 5;
	assert_gp(control_register_write(cpu, 4, cpu->cr4 | CR4_PCIDE)); /* PCID must be 0 then */
	cpu->cr3 &= ~UINT64_C(0xfff);
	assert_completes(control_register_write(cpu, 4, cpu->cr4 | CR4_PCIDE));
	load_segment(SEG_CS, CODE0_32);
	assert_gp(control_register_write(cpu, 0, cpu->cr0 & ~CR0_PG));
}

static void lmsw_cannot_leave(void **state)
{
	assert_completes(insn_lmsw(cpu, CR0_PE | CR0_TS));
	assert_int_equal(cpu->cr0 & 0xf, CR0_PE | CR0_TS);
	assert_completes(insn_lmsw(cpu, CR0_MP));
	assert_int_equal(cpu->cr0 & 0xf, CR0_PE | CR0_MP);
	assert_completes(insn_clts(cpu));
	assert_int_equal(cpu->cr0 & 0xf, CR0_PE | CR0_MP);
}

/* --- CR3, CR4, CR8 --- */

static void cr3_reserved_bits(void **state)
{
	enter_long(0);
	for (volatile unsigned bit = 40; bit < 64; bit++)
		assert_gp(control_register_write(cpu, 3, TABLES | BIT(bit)));
	assert_completes(control_register_write(cpu, 3, TABLES | 0x18));
	if (!(cpu->model->cr4 & CR4_PCIDE))
		return;
	cpu->cr4 |= CR4_PCIDE;
	assert_completes(control_register_write(cpu, 3, TABLES | 7 | BIT(63)));
	assert_int_equal(control_register_read(cpu, 3), TABLES | 7);
}

static void pae_pdptes_are_checked(void **state)
{
	enter_protected(0);
	put(TABLES, 0x200000 | 1, 8);
	put(TABLES + 8, 0x200000 | 3, 8); /* bit 1 is reserved */
	cpu->cr3 = TABLES;
	cpu->cr4 |= CR4_PAE;
	assert_gp(control_register_write(cpu, 0, cpu->cr0 | CR0_PG));
	assert_false(cpu->cr0 & CR0_PG);
	put(TABLES + 8, 0, 8);
	assert_completes(control_register_write(cpu, 0, cpu->cr0 | CR0_PG));
	assert_int_equal(cpu->pdpte[0], 0x200001);
	put(TABLES + 0x20, 2 | 1, 8);
	assert_gp(control_register_write(cpu, 3, TABLES + 0x20));
	assert_int_equal(cpu->cr3, TABLES);
	assert_int_equal(cpu->pdpte[0], 0x200001);
	put(TABLES + 8, 3, 8); /* some CR4 bits load them again */
	assert_gp(control_register_write(cpu, 4, cpu->cr4 | CR4_PGE));
	put(TABLES + 8, 0, 8);
	put(TABLES, 0x300001, 8);
	assert_completes(control_register_write(cpu, 4, cpu->cr4 | CR4_PGE));
	assert_int_equal(cpu->pdpte[0], 0x300001);
}

static void cr4_allowed_bits(void **state)
{
	enter_long(0);
	for (volatile unsigned bit = 0; bit < 64; bit++) {
		volatile uint64_t value = CR4_PAE | BIT(bit);

		if (!(cpu->model->cr4 & BIT(bit)) || BIT(bit) == CR4_LA57)
			assert_gp(control_register_write(cpu, 4, value));
		else
			assert_completes(control_register_write(cpu, 4, value));
	}
}

/* Writes that change what page tables mean drop what is cached. */
static void flushes(void **state)
{
	enter_long(0);
	put(0x300000, 1, 1);
	assert_completes(access_store(cpu, 0x300000, 2, 1, ACCESS_SUPERVISOR));
	put(TABLES + 0x2008, 2 * MIB | 0xe5, 8);                                /* read-only now */
	assert_completes(access_store(cpu, 0x300000, 3, 1, ACCESS_SUPERVISOR)); /* stale: allowed */
	assert_completes(control_register_write(cpu, 3, cpu->cr3));
	assert_raises(VECTOR_PF, PF_PRESENT | PF_WRITE,
		access_store(cpu, 0x300000, 4, 1, ACCESS_SUPERVISOR));
	assert_completes(control_register_write(cpu, 0, cpu->cr0 & ~CR0_WP));
	assert_completes(access_store(cpu, 0x300000, 5, 1, ACCESS_SUPERVISOR));
	assert_completes(control_register_write(cpu, 0, cpu->cr0 | CR0_WP));
	assert_raises(VECTOR_PF, PF_PRESENT | PF_WRITE,
		access_store(cpu, 0x300000, 6, 1, ACCESS_SUPERVISOR));
}

/* Without NXE, NX is a reserved bit. */
static void nxe_flushes(void **state)
{
	uint64_t efer;

	enter_long(0);
	efer = cpu->efer & ~EFER_NXE;
	if (!(cpu->model->efer & EFER_NXE))
		skip();
	assert_true(msr_write(cpu, 0xc0000080, efer | EFER_NXE));
	put(TABLES + 0x2008, 2 * MIB | 0xe7 | BIT(63), 8);
	assert_completes(access_load(cpu, 0x300000, 1, ACCESS_SUPERVISOR));
	assert_true(msr_write(cpu, 0xc0000080, efer));
	assert_raises(VECTOR_PF, PF_PRESENT | PF_RESERVED,
		access_load(cpu, 0x300000, 1, ACCESS_SUPERVISOR));
}

/* However many have been made since the last flush, and wherever they lie in large pages. */
static void no_entry_outlives_a_flush(void **state)
{
	enter_long(0);
	put(TABLES + 0x2008, 2 * MIB | 0xe7, 8);
	put(TABLES + 0x2010, 4 * MIB | 0xe7, 8);
	for (volatile unsigned page = 0; page < 600; page++)
		assert_completes(
			access_load(cpu, 2 * MIB + page * PAGE_SIZE, 1, ACCESS_SUPERVISOR));
	put(TABLES + 0x2008, 0, 8);
	put(TABLES + 0x2010, 0, 8);
	assert_completes(control_register_write(cpu, 3, cpu->cr3));
	for (volatile unsigned page = 0; page < 600; page++)
		assert_raises(VECTOR_PF, 0,
			access_load(cpu, 2 * MIB + page * PAGE_SIZE, 1, ACCESS_SUPERVISOR));
}

static void global_pages_survive_cr3(void **state)
{
	enter_long(0);
	cpu->cr4 |= CR4_PGE;
	put(TABLES + 0x2008, 2 * MIB | 0x1e7, 8);
	assert_completes(access_load(cpu, 0x300000, 1, ACCESS_SUPERVISOR));
	put(TABLES + 0x2008, 0, 8);
	assert_completes(control_register_write(cpu, 3, cpu->cr3));
	assert_completes(access_load(cpu, 0x300000, 1, ACCESS_SUPERVISOR));
	assert_completes(insn_invlpg(cpu, 0x212345)); /* anywhere in the large page */
	assert_raises(VECTOR_PF, 0, access_load(cpu, 0x300000, 1, ACCESS_SUPERVISOR));
	put(TABLES + 0x2008, 2 * MIB | 0x1e7, 8);
	assert_completes(access_load(cpu, 0x300000, 1, ACCESS_SUPERVISOR));
	put(TABLES + 0x2008, 0, 8);
	assert_completes(insn_invlpg(cpu, 0x3ff000));
	assert_raises(VECTOR_PF, 0, access_load(cpu, 0x300000, 1, ACCESS_SUPERVISOR));
}

static void invpcid_descriptor(void **state)
{
	enter_long(0);
	put(0x300000, 0, 8);
	put(0x300008, BIT(56), 8);
	assert_gp(insn_invpcid(cpu, 0, 0x300000)); /* not canonical */
	assert_completes(insn_invpcid(cpu, 1, 0x300000));
	put(0x300000, 1, 8);
	assert_gp(insn_invpcid(cpu, 1, 0x300000)); /* PCID 1 without CR4.PCIDE */
	assert_completes(insn_invpcid(cpu, 2, 0x300000));
	put(0x300000, 0x1000, 8);
	assert_gp(insn_invpcid(cpu, 3, 0x300000)); /* reserved bits */
	put(0x300000, 0, 8);
	assert_gp(insn_invpcid(cpu, 4, 0x300000));
}

static struct tlb_request requested;

static void note_request(struct cpu *c, const struct tlb_request *request)
{
	requested = *request;
}

/* A flush of the current space and one of another are different requests, and say of which. */
static void flushes_name_their_space(void **state)
{
	struct cpu_engine_ops noting = cpu_engine_ops_none;

	noting.tlb_flushed = note_request;
	enter_long(0);
	cpu->cr4 |= CR4_PCIDE;
	cpu->cr3 |= 7;
	cpu->engine_ops = &noting;
	put(0x300000, 7, 8);
	put(0x300008, 0x601000, 8);
	insn_invpcid(cpu, 1, 0x300000);
	assert_int_equal(requested.what, TLB_FLUSH_NON_GLOBAL);
	assert_true(address_space_equal(requested.space, cpu_address_space(cpu)));
	assert_int_equal(requested.space.pcid, 7);
	assert_int_equal(requested.space.root, cpu->cr3 & PAGE_MASK);
	put(0x300000, 8, 8);
	for (unsigned type = 0; type <= 1; type++) {
		requested = (struct tlb_request){0};
		insn_invpcid(cpu, type, 0x300000);
		assert_int_equal(requested.what, TLB_FLUSH_PCID);
		assert_int_equal(requested.space.pcid, 8);
		assert_false(address_space_same_tag(requested.space, cpu_address_space(cpu)));
	}
	insn_invlpg(cpu, 0x601000);
	assert_int_equal(requested.what, TLB_FLUSH_PAGE);
	assert_int_equal(requested.linear, 0x601000);
	assert_int_equal(requested.space.pcid, 7);
	cpu->engine_ops = &cpu_engine_ops_none;
}

/* --- XCR0 --- */

static void xcr0_groups(void **state)
{
	enter_long(0);
	assert_raises(VECTOR_UD, 0, insn_xsetbv(cpu, 0, 1));
	cpu->cr4 |= CR4_OSXSAVE;
	assert_gp(insn_xsetbv(cpu, 0, 0)); /* x87 cannot go */
	assert_gp(insn_xsetbv(cpu, 1, 1));
	assert_gp(insn_xsetbv(cpu, 0, 5));    /* AVX without SSE */
	assert_gp(insn_xsetbv(cpu, 0, 0x27)); /* part of AVX-512 */
	assert_gp(insn_xsetbv(cpu, 0, 0xe3)); /* AVX-512 without AVX */
	assert_gp(insn_xsetbv(cpu, 0, cpu->model->xcr0 | BIT(62)));
	assert_completes(insn_xsetbv(cpu, 0, cpu->model->xcr0));
	assert_int_equal(insn_xgetbv(cpu, 0), cpu->model->xcr0);
	/* Index 1 leaves out what is in its initial state, as FNINIT makes it. */
	memcpy(cpu->fpu.x87, "\x7f\x03\0\0\0", 5);
	assert_int_equal(insn_xgetbv(cpu, 1), 0);
	cpu->fpu.zmm[3][5] = 1;
	assert_int_equal(insn_xgetbv(cpu, 1), BIT(XSTATE_SSE));
	cpu->fpu.x87[0] = 0x7e;
	assert_int_equal(insn_xgetbv(cpu, 1), BIT(XSTATE_SSE) | BIT(XSTATE_X87));
	assert_gp(insn_xgetbv(cpu, 2));
	set_privilege(3);
	assert_gp(insn_xsetbv(cpu, 0, 1));
}

/* --- descriptor tables --- */

static void table_registers(void **state)
{
	enter_long(0);
	put(0x300000, 0x123, 2);
	put(0x300002, HIGH_HALF, 8);
	assert_completes(insn_load_table(cpu, &cpu->idtr, 0x300000, 8));
	assert_int_equal(cpu->idtr.base, HIGH_HALF);
	assert_int_equal(cpu->idtr.limit, 0x123);
	assert_completes(insn_store_table(cpu, &cpu->idtr, 0x300100, 8));
	assert_int_equal(get(0x300100, 2), 0x123);
	assert_int_equal(get(0x300102, 8), HIGH_HALF);
	put(0x300002, BIT(56), 8);
	assert_gp(insn_load_table(cpu, &cpu->idtr, 0x300000, 8));
	assert_int_equal(cpu->idtr.base, HIGH_HALF);
	enter_protected(0);
	put(0x300002, 0xaabbccdd, 4);
	assert_completes(insn_load_table(cpu, &cpu->gdtr, 0x300000, 2)); /* 24 bits of base */
	assert_int_equal(cpu->gdtr.base, 0xbbccdd);
}

/* Bases may be wider than addresses are now; using such a table then faults. */
static void wide_bases(void **state)
{
	enter_long(0);
	put(0x300000, 0xfff, 2);
	put(0x300002, BIT(50), 8);
	assert_completes(insn_load_table(cpu, &cpu->gdtr, 0x300000, 8));
	assert_raises(VECTOR_GP, DATA0, segment_load(cpu, SEG_DS, DATA0));
	assert_true(msr_write(cpu, 0xc0000100, BIT(50)));
	assert_gp(segment_linear(cpu, SEG_FS, 0, 1, false));
	enter_long(0);
	assert_completes(insn_load_table(cpu, &cpu->idtr, 0x300000, 8));
	cpu->exception = (struct exception){.vector = 0x30, .external = true};
	assert_false(exception_deliver(cpu)); /* #GP, #DF, shutdown */
}

static void umip(void **state)
{
	enter_long(3);
	assert_completes(insn_store_table(cpu, &cpu->idtr, 0x300100, 8));
	assert_completes(insn_smsw(cpu));
	assert_int_equal(insn_str(cpu), TSS_SEL);
	cpu->cr4 |= CR4_UMIP;
	assert_gp(insn_store_table(cpu, &cpu->idtr, 0x300100, 8));
	assert_gp(insn_smsw(cpu));
	assert_gp(insn_sldt(cpu));
	assert_gp(insn_str(cpu));
}

/* --- FS, GS, keys --- */

static void swapgs(void **state)
{
	enter_long(0);
	assert_true(msr_write(cpu, 0xc0000101, 0x1111));
	assert_true(msr_write(cpu, 0xc0000102, HIGH_HALF));
	assert_completes(insn_swapgs(cpu));
	assert_int_equal(cpu->segment_base[SEG_GS], HIGH_HALF);
	assert_int_equal(cpu->kernel_gs_base, 0x1111);
	set_privilege(3);
	assert_gp(insn_swapgs(cpu));
	load_segment(SEG_CS, CODE3_32);
	assert_raises(VECTOR_UD, 0, insn_swapgs(cpu));
}

static void fsgsbase(void **state)
{
	enter_long(3);
	assert_raises(VECTOR_UD, 0, insn_read_fs_gs_base(cpu, SEG_FS));
	cpu->cr4 |= CR4_FSGSBASE;
	assert_completes(insn_write_fs_gs_base(cpu, SEG_FS, 0x1234));
	assert_int_equal(insn_read_fs_gs_base(cpu, SEG_FS), 0x1234);
	assert_gp(insn_write_fs_gs_base(cpu, SEG_FS, BIT(56)));
}

static void protection_key_register(void **state)
{
	enter_long(3);
	assert_raises(VECTOR_UD, 0, insn_rdpkru(cpu));
	cpu->cr4 |= CR4_PKE;
	cpu->gpr[RDX] = 1;
	assert_gp(insn_wrpkru(cpu, 0x55));
	cpu->gpr[RDX] = 0;
	assert_completes(insn_wrpkru(cpu, 0x55));
	assert_int_equal(insn_rdpkru(cpu), 0x55);
	cpu->gpr[RCX] = 1;
	assert_gp(insn_rdpkru(cpu));
}

/* --- flags --- */

static void cli_and_sti(void **state)
{
	enter_protected(3);
	assert_gp(insn_cli(cpu));
	cpu_set_rflags(cpu, RFLAGS_IOPL);
	assert_completes(insn_sti(cpu));
	assert_true(cpu->system_flags & RFLAGS_IF);
	assert_int_equal(cpu->interrupt_shadow, SHADOW_STI);
	cpu->interrupt_shadow = 0;
	assert_completes(insn_sti(cpu)); /* IF was set: no shadow */
	assert_int_equal(cpu->interrupt_shadow, SHADOW_NONE);
	assert_completes(insn_cli(cpu));
	assert_false(cpu->system_flags & RFLAGS_IF);
	/* PVI: the virtual flag instead. */
	cpu_set_rflags(cpu, 0);
	cpu->cr4 |= CR4_PVI;
	assert_completes(insn_sti(cpu));
	assert_int_equal(cpu_rflags(cpu), RFLAGS_VIF | RFLAGS_FIXED1);
	cpu_set_rflags(cpu, RFLAGS_VIP);
	assert_gp(insn_sti(cpu));
	assert_completes(insn_cli(cpu));
}

static void popf_by_privilege(void **state)
{
	uint64_t all = 0x3f7fd7, kept;

	enter_protected(0);
	assert_completes(insn_popf(cpu, all, 4));
	kept = RFLAGS_VM | RFLAGS_RF | RFLAGS_VIF | RFLAGS_VIP;
	assert_int_equal(cpu_rflags(cpu), all & ~kept);
	enter_protected(3);
	assert_completes(insn_popf(cpu, all, 4));
	assert_int_equal(cpu_rflags(cpu), all & ~(kept | RFLAGS_IOPL | RFLAGS_IF));
	enter_protected(3);
	cpu_set_rflags(cpu, RFLAGS_IOPL);
	assert_completes(insn_popf(cpu, RFLAGS_IF | RFLAGS_AC, 2));
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IOPL | RFLAGS_IF | RFLAGS_FIXED1);
	assert_int_equal(insn_pushf(cpu, 2), RFLAGS_IOPL | RFLAGS_IF | RFLAGS_FIXED1);
}

static void v86_flags(void **state)
{
	enter_v86(0);
	assert_gp(insn_pushf(cpu, 2));
	assert_gp(insn_popf(cpu, 0, 2));
	assert_gp(insn_cli(cpu));
	cpu->cr4 |= CR4_VME;
	assert_completes(insn_popf(cpu, RFLAGS_IF | RFLAGS_IOPL, 2));
	assert_true(cpu->system_flags & RFLAGS_VIF);
	assert_int_equal(cpu->system_flags & RFLAGS_IOPL, 0);
	assert_int_equal(insn_pushf(cpu, 2), RFLAGS_IF | RFLAGS_IOPL | RFLAGS_FIXED1);
	assert_completes(insn_cli(cpu));
	assert_int_equal(insn_pushf(cpu, 2), RFLAGS_IOPL | RFLAGS_FIXED1);
	assert_true(cpu->system_flags & RFLAGS_IF); /* the real one was not touched */
	assert_gp(insn_popf(cpu, RFLAGS_TF, 2));
	assert_gp(insn_pushf(cpu, 4));
}

static void stac_changes_the_view(void **state)
{
	enter_long(0);
	if (!(cpu->model->cr4 & CR4_SMAP))
		skip();
	assert_completes(control_register_write(cpu, 4, cpu->cr4 | CR4_SMAP));
	assert_ptr_equal(cpu->tlb, cpu->tlb_views[TLB_SUPERVISOR]);
	assert_raises(VECTOR_PF, PF_PRESENT, access_load(cpu, 0x300000, 1, ACCESS_PROGRAM));
	assert_completes(insn_clac_stac(cpu, true));
	assert_completes(access_load(cpu, 0x300000, 1, ACCESS_PROGRAM));
	assert_completes(insn_clac_stac(cpu, false));
	assert_raises(VECTOR_PF, PF_PRESENT, access_load(cpu, 0x300000, 1, ACCESS_PROGRAM));
	set_privilege(3);
	assert_raises(VECTOR_UD, 0, insn_clac_stac(cpu, true));
}

static void privileged_instructions(void **state)
{
	enter_long(3);
	assert_gp(insn_hlt(cpu));
	assert_gp(insn_invd_wbinvd(cpu));
	assert_gp(insn_invlpg(cpu, 0));
	assert_gp(insn_clts(cpu));
	assert_gp(insn_rdmsr(cpu));
	assert_gp(insn_wrmsr(cpu));
	assert_gp(insn_load_table(cpu, &cpu->gdtr, 0x300000, 8));
	assert_gp(insn_lldt(cpu, 0));
	assert_completes(insn_rdtsc(cpu));
	cpu->cr4 |= CR4_TSD;
	assert_gp(insn_rdtsc(cpu));
	assert_gp(insn_rdtscp(cpu));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(cr0_consistency),
		cpu_test(no_such_register),
		cpu_test(into_long_mode_and_out),
		cpu_test(pcid_keeps_paging_on),
		cpu_test(lmsw_cannot_leave),
		cpu_test(cr3_reserved_bits),
		cpu_test(pae_pdptes_are_checked),
		cpu_test(cr4_allowed_bits),
		cpu_test(flushes),
		cpu_test(nxe_flushes),
		cpu_test(no_entry_outlives_a_flush),
		cpu_test(global_pages_survive_cr3),
		cpu_test(invpcid_descriptor),
		cpu_test(flushes_name_their_space),
		cpu_test(xcr0_groups),
		cpu_test(table_registers),
		cpu_test(wide_bases),
		cpu_test(umip),
		cpu_test(swapgs),
		cpu_test(fsgsbase),
		cpu_test(protection_key_register),
		cpu_test(cli_and_sti),
		cpu_test(popf_by_privilege),
		cpu_test(v86_flags),
		cpu_test(stac_changes_the_view),
		cpu_test(privileged_instructions),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
