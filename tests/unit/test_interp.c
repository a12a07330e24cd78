/* The interpreter's machinery, run on a bare processor: what it may optimize and what it must not,
 * code that changes, instructions across pages, and getting control back. What single instructions
 * compute is the oracle's to say (tests/oracle/). */
#include "engine_fixture.h"

#include "engine/interp/interp.h"

#include <pthread.h>

#define CODE    0x200000
#define DATA    0x300000
#define NOWHERE UINT64_C(0x40000000) /* not mapped: the fixture maps 16 MiB */

static int setup(void **state)
{
	fpu_init();
	return engine_fixture_setup(state, &engine_interp);
}

static int teardown(void **state)
{
	return engine_fixture_teardown(state, &engine_interp);
}

#define interp_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#define LOAD_CODE(address, ...)                                                                    \
	do {                                                                                       \
		const uint8_t code_[] = {__VA_ARGS__};                                             \
		assert_int_equal(memory_write(&memory, address, code_, sizeof(code_)), 0);         \
	} while (0)

/* Run at `rip` until HLT, or until an exception, which has no handler and so shuts down. */
static enum vcpu_exit run_at(uint64_t rip)
{
	cpu->activity = ACTIVITY_RUNNING;
	cpu->rip = cpu->next_rip = rip;
	return engine_interp.vcpu_run(cpu);
}

/* --- flags --- */

/* add makes flags, and cmp will overwrite them, but the load between faults: the handler must see
 * add's. */
static void flags_are_exact_at_a_fault(void **state)
{
	enter_long(0);
	cpu->idtr.limit = 0;
	LOAD_CODE(CODE, 0x48, 0x01, 0xd8, /* add rax, rbx: carry, zero */
		0x48, 0x8b, 0x0e,         /* mov rcx, [rsi] */
		0x48, 0x39, 0xd2,         /* cmp rdx, rdx */
		0xf4);
	cpu->gpr[RAX] = 1;
	cpu->gpr[RBX] = ~UINT64_C(0);
	cpu->gpr[RSI] = NOWHERE;
	assert_int_equal(run_at(CODE), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(cpu->cr2, NOWHERE);
	assert_int_equal(cpu->rip, CODE + 3);
	assert_true(cpu_rflags(cpu) & RFLAGS_CF);
	assert_true(cpu_rflags(cpu) & RFLAGS_ZF);
}

/* Here nothing can fault between; results and the last flags must be right all the same. */
static void overwritten_flags_change_nothing(void **state)
{
	enter_long(0);
	LOAD_CODE(CODE, 0x48, 0x01, 0xd8, /* add rax, rbx: carry */
		0x48, 0xd1, 0xc1,         /* rol rcx, 1 */
		0x48, 0xff, 0xc2,         /* inc rdx */
		0x48, 0x29, 0xf7,         /* sub rdi, rsi: carry */
		0x48, 0x83, 0xd0, 0x00,   /* adc rax, 0 */
		0x48, 0xff, 0xc2,         /* inc rdx: keeps adc's carry, 0 */
		0xf4);
	cpu->gpr[RAX] = 5;
	cpu->gpr[RBX] = ~UINT64_C(0);
	cpu->gpr[RCX] = BIT(63) | 1;
	cpu->gpr[RDX] = 7;
	cpu->gpr[RDI] = 1;
	cpu->gpr[RSI] = 2;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], 5); /* 5 - 1 + carry of sub */
	assert_int_equal(cpu->gpr[RCX], 3);
	assert_int_equal(cpu->gpr[RDX], 9);
	assert_int_equal(cpu_rflags(cpu) & RFLAGS_ARITHMETIC, RFLAGS_PF);
}

/* A shift by zero in between leaves flags alone, so what came before must have made them. */
static void a_shift_by_zero_is_no_writer(void **state)
{
	enter_long(0);
	LOAD_CODE(CODE, 0x48, 0x01, 0xd8, /* add rax, rbx: carry, zero */
		0x48, 0xd3, 0xe2,         /* shl rdx, cl */
		0xf4);
	cpu->gpr[RAX] = 1;
	cpu->gpr[RBX] = ~UINT64_C(0);
	cpu->gpr[RCX] = 0;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_true(cpu_rflags(cpu) & RFLAGS_CF);
	assert_true(cpu_rflags(cpu) & RFLAGS_ZF);
}

/* --- counting --- */

static void instructions_are_counted_exactly(void **state)
{
	enter_long(0);
	cpu->idtr.limit = 0;
	LOAD_CODE(CODE, 0xb9, 10, 0, 0, 0, /* mov ecx, 10 */
		0x90,                      /* 1: nop */
		0xff, 0xc9,                /* dec ecx */
		0x75, 0xfb,                /* jnz 1b */
		0x48, 0x8b, 0x06,          /* mov rax, [rsi]: faults */
		0x90, 0xf4);
	cpu->gpr[RSI] = NOWHERE;
	assert_int_equal(run_at(CODE), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(cpu->stats.instructions, 1 + 10 * 3);
}

/* --- code that changes --- */

/* The store writes the immediate of the next instruction, in its own block. */
static void the_next_instruction_is_rewritten(void **state)
{
	enter_long(0);
	LOAD_CODE(CODE, 0xc6, 0x06, 0x55,     /* mov byte [rsi], 0x55 */
		0xb8, 0x11, 0x00, 0x00, 0x00, /* mov eax, 0x11 */
		0xf4);
	cpu->gpr[RSI] = CODE + 4;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], 0x55);
}

/* ... also by PUSH, by REP STOS, and through another mapping of the same page. */
static void rewritten_by_other_means(void **state)
{
	enter_long(0);
	LOAD_CODE(CODE, 0x6a, 0x66,                    /* push 0x66 */
		0x48, 0xb8, 0x11, 0, 0, 0, 0, 0, 0, 0, /* mov rax, 0x11 */
		0xf4);
	cpu->gpr[RSP] = CODE + 4 + 8;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], 0x66);

	LOAD_CODE(CODE + 0x100, 0xf3, 0xaa,   /* rep stosb */
		0xb8, 0x11, 0x11, 0x11, 0x11, /* mov eax, 0x11111111 */
		0xf4);
	cpu->gpr[RAX] = 0x77;
	cpu->gpr[RCX] = 4;
	cpu->gpr[RDI] = HIGH_HALF + CODE + 0x103;
	assert_int_equal(run_at(CODE + 0x100), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], 0x77777777);
}

/* DMA: a device writes code that has run before. */
static void rewritten_by_a_device(void **state)
{
	enter_long(0);
	for (unsigned value = 1; value < 4; value++) {
		LOAD_CODE(CODE, 0xb8, (uint8_t)value, 0, 0, 0, 0xf4);
		assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
		assert_int_equal(cpu->gpr[RAX], value);
	}
}

/* Data next to code, in another line, costs no decoding. */
static void data_in_a_code_page_is_left_alone(void **state)
{
	enter_long(0);
	LOAD_CODE(CODE, 0xb9, 0xe8, 3, 0, 0, /* mov ecx, 1000 */
		0x89, 0x0e,                  /* 1: mov [rsi], ecx */
		0xff, 0xc9,                  /* dec ecx */
		0x75, 0xfa,                  /* jnz 1b */
		0xf4);
	cpu->gpr[RSI] = CODE + 0x800;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_true(cpu->stats.blocks_decoded < 5);
	assert_int_equal(cpu->stats.code_invalidations, 0);
}

/* --- pages --- */

static void map_small(uint64_t linear, uint64_t physical, uint64_t flags)
{
	uint64_t table = TABLES + 0x8000;

	/* One page table under the directory entry of this linear address. */
	put(TABLES + 0x2000 + (linear >> 21) * 8, table | 7, 8);
	put(table + ((linear >> 12) & 511) * 8, physical | flags, 8);
}

/* The second half of an instruction is on a page that is not there: CR2 tells its first byte. */
static void a_straddling_fetch_faults_on_its_second_page(void **state)
{
	enter_long(0);
	cpu->idtr.limit = 0;
	map_small(0x600000, CODE, 3);
	LOAD_CODE(CODE + 0xffe, 0xb8, 0x11);
	assert_int_equal(run_at(0x600ffe), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(cpu->cr2, 0x601000);
	assert_int_equal(cpu->rip, 0x600ffe);
}

/* ... is there, and then is another page, and then is rewritten. */
static void a_straddling_instruction_follows_its_second_page(void **state)
{
	enter_long(0);
	map_small(0x600000, CODE, 3);
	map_small(0x601000, DATA, 3);
	LOAD_CODE(CODE + 0xffe, 0xb8, 0x11);
	LOAD_CODE(DATA, 0x22, 0, 0, 0xf4);
	LOAD_CODE(DATA + 0x1000, 0x33, 0, 0, 0xf4);
	assert_int_equal(run_at(0x600ffe), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], 0x2211);

	map_small(0x601000, DATA + 0x1000, 3);
	tlb_flush_page(cpu, 0x601000);
	assert_int_equal(run_at(0x600ffe), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], 0x3311);

	LOAD_CODE(DATA + 0x1000, 0x44);
	assert_int_equal(run_at(0x600ffe), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], 0x4411);
}

/* A data access across pages whose second one faults changes nothing on the first. */
static void a_crossing_store_is_all_or_nothing(void **state)
{
	enter_long(0);
	cpu->idtr.limit = 0;
	map_small(0x600000, DATA, 3);
	put(DATA + 0xffc, 0x12345678, 4);
	LOAD_CODE(CODE, 0x48, 0x89, 0x06, 0xf4); /* mov [rsi], rax */
	cpu->gpr[RAX] = ~UINT64_C(0);
	cpu->gpr[RSI] = 0x600ffc;
	assert_int_equal(run_at(CODE), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(cpu->cr2, 0x601000);
	assert_int_equal(get(DATA + 0xffc, 4), 0x12345678);
}

/* --- the arena --- */

/* More code than the arena holds: everything is forgotten once, and goes on working. */
static void the_arena_fills_up(void **state)
{
	const unsigned block = 256, count = 10 * MIB / 256;

	enter_long(0);
	for (unsigned i = 0; i < count; i++) {
		uint8_t code[256];

		memset(code, 0x90, sizeof(code));
		if (i == count - 1)
			code[255] = 0xf4;
		assert_int_equal(memory_write(&memory, 0x400000 + i * block, code, block), 0);
	}
	for (unsigned turn = 0; turn < 3; turn++) {
		assert_int_equal(run_at(0x400000), VCPU_EXIT_HALTED);
		assert_int_equal(cpu->stats.instructions, (turn + 1) * (uint64_t)count * block);
	}
}

/* --- getting control back --- */

static void *stop_soon(void *opaque)
{
	struct timespec delay = {.tv_nsec = 20 * 1000 * 1000};

	nanosleep(&delay, NULL);
	cpu_set_pending(cpu, PENDING_STOP);
	return NULL;
}

static void check_stops(void)
{
	pthread_t thread;

	cpu_set_rflags(cpu, RFLAGS_FIXED1); /* interrupts off */
	assert_int_equal(pthread_create(&thread, NULL, stop_soon, NULL), 0);
	assert_int_equal(run_at(CODE), VCPU_EXIT_STOPPED);
	pthread_join(thread, NULL);
	cpu_clear_pending(cpu, PENDING_STOP);
}

static void endless_loops_stop(void **state)
{
	enter_long(0);
	LOAD_CODE(CODE, 0xeb, 0xfe); /* jmp . */
	check_stops();
	LOAD_CODE(CODE, 0x90, 0x75, 0xfd, 0xeb, 0xfb); /* 1: nop; jnz 1b; jmp 1b */
	check_stops();
	LOAD_CODE(CODE, 0xff, 0xe0); /* jmp rax */
	cpu->gpr[RAX] = CODE;
	check_stops();
	/* rep lodsb over half the address space that is mapped, again and again */
	LOAD_CODE(CODE, 0xf3, 0xac, 0xbe, 0, 0, 0x40, 0, 0xb9, 0, 0, 0x80, 0, 0xeb, 0xf2);
	cpu->gpr[RSI] = 0x400000;
	cpu->gpr[RCX] = 0x100;
	check_stops();
}

/* --- vendors --- */

/* REX.W makes the offset of a far pointer in memory 64 bits long on Intel's processors. */
static void far_pointers_by_vendor(void **state)
{
	for (unsigned amd = 0; amd < 2; amd++) {
		enter_long(0);
		cpu->idtr.limit = 0;
		cpu->amd = amd;
		interp_drop_blocks(cpu);                /* they were decoded for the other vendor */
		LOAD_CODE(CODE, 0x48, 0x0f, 0xb5, 0x06, /* lgs rax, [rsi] */
			0x66, 0x48, 0x0f, 0xb4, 0x1e,   /* with 66h: lfs rbx, [rsi] */
			0x48, 0xff, 0x2f);              /* jmp far [rdi] */
		LOAD_CODE(CODE + 0x40, 0xf4);
		put(DATA, UINT64_C(0x2211000055667788), 8);
		put(DATA + 2, 0, 2); /* a null selector for a pointer of any size */
		put(DATA + 8, 0, 2);
		put(DATA + 0x10, (uint64_t)CODE0 << 32 | (CODE + 0x40), 8);
		put(DATA + 0x18, CODE0, 2);
		cpu->gpr[RSI] = DATA;
		cpu->gpr[RDI] = DATA + 0x10;
		cpu->gpr[RBX] = ~UINT64_C(0);
		assert_int_equal(run_at(CODE), amd ? VCPU_EXIT_HALTED : VCPU_EXIT_SHUTDOWN);
		assert_int_equal(cpu->gpr[RAX], amd ? 0x00007788 : UINT64_C(0x2211000000007788));
		assert_int_equal(cpu->gpr[RBX],
			amd ? UINT64_C(0xffffffffffff7788) : UINT64_C(0x2211000000007788));
		if (!amd)
			assert_int_equal(cpu->cr2, (uint64_t)CODE0 << 32 | (CODE + 0x40));
	}
}

/* Where both operands of CMPS fault, processors report ES:[RDI]. */
static void cmps_reports_its_second_operand(void **state)
{
	enter_long(0);
	cpu->idtr.limit = 0;
	LOAD_CODE(CODE, 0xa6); /* cmpsb */
	cpu->gpr[RSI] = NOWHERE;
	cpu->gpr[RDI] = NOWHERE + 0x1000;
	assert_int_equal(run_at(CODE), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(cpu->cr2, NOWHERE + 0x1000);
}

/* MOVSXD to 16 bits reads that many on Intel's processors, and 32 on AMD's. */
/* --- string instructions at a port --- */

#define PORT 0x300

/* A register that numbers stream from, each of two bytes, and into. */
static struct {
	uint16_t next;
	unsigned accesses, blocks; /* the latter: of more than one access */
	unsigned most;             /* accesses in a block */
} stream;

static uint64_t stream_read(void *opaque, uint64_t offset, unsigned size)
{
	stream.accesses++;
	return stream.next++;
}

static void stream_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	stream.accesses++;
	assert_int_equal(value, stream.next++);
}

static unsigned stream_read_block(
	void *opaque, uint64_t offset, void *bytes, unsigned size, unsigned count)
{
	unsigned done = MIN(count, stream.most);

	for (unsigned i = 0; i < done; i++, stream.next++)
		memcpy((uint8_t *)bytes + 2 * i, &stream.next, 2);
	stream.blocks++;
	return done;
}

static unsigned stream_write_block(
	void *opaque, uint64_t offset, const void *bytes, unsigned size, unsigned count)
{
	unsigned done = MIN(count, stream.most);

	for (unsigned i = 0; i < done; i++, stream.next++)
		assert_memory_equal((const uint8_t *)bytes + 2 * i, &stream.next, 2);
	stream.blocks++;
	return done;
}

static void begin_stream(unsigned most)
{
	static const struct io_ops ops = {.read = stream_read,
		.write = stream_write,
		.read_block = stream_read_block,
		.write_block = stream_write_block};

	memset(&stream, 0, sizeof(stream));
	stream.most = most;
	io_space_remove(&ports, PORT);
	assert_int_equal(io_space_add(&ports, PORT, 2, "stream", &ops, NULL), 0);
	enter_long(0);
	cpu->idtr.limit = 0;
	LOAD_CODE(CODE, 0xf3, 0x66, 0x6d, 0xf4, /* rep insw; hlt */
		0xf3, 0x66, 0x6f, 0xf4);        /* rep outsw; hlt */
	cpu->gpr[RDX] = PORT;
}

static void assert_numbers(uint64_t address, unsigned count)
{
	uint16_t value;

	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(memory_read(&memory, address + 2 * i, &value, 2), 0);
		assert_int_equal(value, i);
	}
}

static void strings_at_a_port_go_in_blocks(void **state)
{
	begin_stream(256);
	cpu->gpr[RCX] = 1000;
	cpu->gpr[RDI] = DATA + 0xf01; /* one element lies in two pages */
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_numbers(DATA + 0xf01, 1000);
	assert_int_equal(cpu->gpr[RCX], 0);
	assert_int_equal(cpu->gpr[RDI], DATA + 0xf01 + 2000);
	assert_int_equal(stream.accesses, 1);
	assert_true(stream.blocks < 8);
	stream.next = 0;
	cpu->gpr[RCX] = 1000;
	cpu->gpr[RSI] = DATA + 0xf01;
	assert_int_equal(run_at(CODE + 4), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RSI], DATA + 0xf01 + 2000);
	assert_int_equal(stream.next, 1000);
	assert_int_equal(stream.accesses, 2);
}

static void strings_at_a_port_go_one_by_one(void **state)
{
	begin_stream(0); /* the device has none at once */
	cpu->gpr[RCX] = 10;
	cpu->gpr[RDI] = DATA;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_numbers(DATA, 10);
	assert_int_equal(stream.accesses, 10);
	begin_stream(256); /* downwards */
	cpu->system_flags |= RFLAGS_DF;
	cpu->gpr[RCX] = 10;
	cpu->gpr[RDI] = DATA + 100;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RDI], DATA + 80);
	assert_int_equal(stream.accesses, 10);
	assert_int_equal(stream.blocks, 0);
	cpu->system_flags &= ~(uint64_t)RFLAGS_DF;
}

/* The fault leaves what came before it done, and the port is not read in vain. */
static void a_string_at_a_port_faults_in_the_middle(void **state)
{
	begin_stream(4096);
	cpu->gpr[RCX] = 100;
	cpu->gpr[RDI] = 16 * MIB - 20;
	assert_int_equal(run_at(CODE), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(cpu->cr2, 16 * MIB);
	assert_int_equal(cpu->rip, CODE);
	assert_int_equal(cpu->gpr[RCX], 90);
	assert_int_equal(cpu->gpr[RDI], 16 * MIB);
	assert_int_equal(stream.next, 10);
	assert_numbers(16 * MIB - 20, 10);
}

/* A breakpoint on the port traps after the first element. */
static void a_string_at_a_watched_port_traps(void **state)
{
	begin_stream(4096);
	cpu->dr[0] = PORT;
	cpu->dr7 = 0x400 | 1 | 2 << 16;
	cpu->cr4 |= CR4_DE;
	cpu->gpr[RCX] = 100;
	cpu->gpr[RDI] = DATA;
	assert_int_equal(run_at(CODE), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(cpu->gpr[RCX], 99);
	assert_int_equal(stream.accesses, 1);
	assert_int_equal(stream.blocks, 0);
}

static void movsxd_reads_by_vendor(void **state)
{
	for (unsigned amd = 0; amd < 2; amd++) {
		enter_long(0);
		cpu->idtr.limit = 0;
		cpu->amd = amd;
		interp_drop_blocks(cpu);
		map_small(0x600000, DATA, 3);
		put(DATA + 0xffe, 0x1234, 2);
		LOAD_CODE(CODE, 0x66, 0x63, 0x06, 0xf4); /* movsxd ax, [rsi] */
		cpu->gpr[RSI] = 0x600ffe;
		cpu->gpr[RAX] = 0;
		assert_int_equal(run_at(CODE), amd ? VCPU_EXIT_SHUTDOWN : VCPU_EXIT_HALTED);
		assert_int_equal(cpu->gpr[RAX], amd ? 0 : 0x1234);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		interp_test(flags_are_exact_at_a_fault),
		interp_test(overwritten_flags_change_nothing),
		interp_test(a_shift_by_zero_is_no_writer),
		interp_test(instructions_are_counted_exactly),
		interp_test(the_next_instruction_is_rewritten),
		interp_test(rewritten_by_other_means),
		interp_test(rewritten_by_a_device),
		interp_test(data_in_a_code_page_is_left_alone),
		interp_test(a_straddling_fetch_faults_on_its_second_page),
		interp_test(a_straddling_instruction_follows_its_second_page),
		interp_test(a_crossing_store_is_all_or_nothing),
		interp_test(the_arena_fills_up),
		interp_test(endless_loops_stop),
		interp_test(far_pointers_by_vendor),
		interp_test(cmps_reports_its_second_operand),
		interp_test(strings_at_a_port_go_in_blocks),
		interp_test(strings_at_a_port_go_one_by_one),
		interp_test(a_string_at_a_port_faults_in_the_middle),
		interp_test(a_string_at_a_watched_port_traps),
		interp_test(movsxd_reads_by_vendor),
	};

	return cmocka_run_group_tests_name("interp", tests, NULL, NULL);
}
