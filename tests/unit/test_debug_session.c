/* The debugger's protocol: packets, registers, memory, breakpoints, and what a client may do to the
 * machine, which is played by the test. */
#include "cpu_fixture.h"

#include "debug/registers.h"
#include "debug/session.h"

#include "base/log.h"

static struct session session;
static struct machine machine;
static struct cpu *second;
static char sent[3 * sizeof(struct packet)];
static size_t sent_size;
static unsigned resumed, quit;

/* --- the machine --- */

void machine_pause(struct machine *asked)
{
	asked->phase = MACHINE_PHASE_PAUSED;
}

void machine_resume_without(struct machine *asked, uint64_t held)
{
	asked->held = held;
	asked->phase = MACHINE_PHASE_RUNNING;
	resumed++;
}

void machine_resume(struct machine *asked)
{
	machine_resume_without(asked, 0);
}

void machine_request_end(struct machine *asked, enum machine_end end, int value)
{
	quit += end == MACHINE_QUIT && value;
}

static void on_send(void *opaque, const void *bytes, size_t size)
{
	assert_true(sent_size + size < sizeof(sent));
	memcpy(sent + sent_size, bytes, size);
	sent_size += size;
	sent[sent_size] = 0;
}

static int setup(void **state)
{
	if (fixture_setup(state))
		return -1;
	second = cpu_create(&platform, 1);
	if (!second)
		return -1;
	enter_long(0);
	machine = (struct machine){
		.config.cpu_count = 2, .cpus = {cpu, second}, .phase = MACHINE_PHASE_RUNNING};
	session = (struct session){.machine = &machine, .send = on_send};
	sent_size = resumed = quit = 0;
	session_open(&session);
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	return 0;
}

static int teardown(void **state)
{
	session_free(&session);
	cpu_destroy(second);
	return fixture_teardown(state);
}

/* --- a client --- */

static void give(const void *bytes, size_t size)
{
	sent_size = 0;
	sent[0] = 0;
	for (size_t i = 0; i < size; i++)
		session_take(&session, ((const uint8_t *)bytes)[i]);
}

static void ask_bytes(const void *data, size_t size)
{
	static uint8_t framed[2 * PACKET_LONGEST];
	uint8_t sum = 0;

	framed[0] = '$';
	memcpy(framed + 1, data, size);
	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + framed[1 + i]);
	snprintf((char *)framed + 1 + size, 4, "#%02x", sum);
	give(framed, size + 4);
}

/* The data of the one answer, after its acknowledgement. */
static const char *ask(const char *data)
{
	static char answer[sizeof(sent)];
	const char *end;

	ask_bytes(data, strlen(data));
	assert_int_equal(sent[0], '+');
	if (!sent[1])
		return "(nothing)";
	assert_int_equal(sent[1], '$');
	end = strchr(sent, '#');
	assert_non_null(end);
	assert_int_equal(end + 3 - sent, sent_size);
	memcpy(answer, sent + 2, (size_t)(end - sent) - 2);
	answer[end - sent - 2] = 0;
	return answer;
}

#define assert_answer(data, expected) assert_string_equal(ask(data), expected)

/* --- packets --- */

static void broken_packets_are_refused(void **state)
{
	give("$qC#b3", 6); /* the sum is b4 */
	assert_string_equal(sent, "-");
	give("$qC#bz", 6);
	assert_string_equal(sent, "-");
	give("garbage$q$qC#b4", 15); /* begun anew */
	assert_string_equal(sent, "+$QC01#f5");
	give("-", 1);
	assert_string_equal(sent, "$QC01#f5");
	give("+\003", 2);
	assert_string_equal(sent, "");
	/* Nothing has been sent that could be sent again. */
	assert_answer("k", "(nothing)");
	give("-", 1);
	assert_string_equal(sent, "");
	assert_answer("QStartNoAckMode", "OK");
	give("$qC#b4", 6);
	assert_string_equal(sent, "$QC01#f5");
	give("-", 1);
	assert_string_equal(sent, "");
}

static void a_packet_that_is_too_long_is_an_error(void **state)
{
	static char text[PACKET_LONGEST + 2];

	memset(text, 'm', PACKET_LONGEST);
	assert_answer(text, "E16");
	text[PACKET_LONGEST] = 'm';
	assert_answer(text, "E16");
	assert_answer("qC", "QC01");
}

/* Each gets an error, or the empty answer; and the machine stays as it is. */
static void nonsense_is_refused(void **state)
{
	static const char *const nonsense[] = {"", "!", "A", "m", "m,", "m1", "m1,", "m,1", "m1;1",
		"m10000000000000000,1", "mg,1", "M0,1", "M0,2:00", "M0,1:0", "M0,1:0g", "M0,1:0000",
		"Mffffffffffffffff,ffffffffffffffff:", "X0,2:a", "X0,0", "p", "pfff", "pg",
		"p10000000000000000", "p100000000", "P", "P0", "P0=", "P0=00",
		"Pfff=0000000000000000", "Gzz", "H", "Hg3", "Hx1", "Hgffffffffffffffff", "Hg-2",
		"T0", "T3", "T", "Z", "Z0", "Z5,0,1", "Z0,1", "Z2,0,0", "Z2,ffffffffffffffff,2",
		"Zffffffff,0,1", "z0,1,1", "z", "cxyz", "sxyz", "vCont;", "vCont;x", "vCont;s:3",
		"vCont;c:0:1", "vCont", "vCont;C", "vCont;s:", "vFile:open:", "vRun",
		"qXfer:features:read:other.xml:0,10", "qXfer:features:read:target.xml:0",
		"qXfer:features:read:target.xml:", "qXfer:memory-map:read::0,10",
		"qThreadExtraInfo,0", "qThreadExtraInfo", "qRcmd,zz", "Qqemu.PhyMemMode:2",
		"Qqemu.sstep=1", "qSupportedX", "qCRC:0,1", "\x03"};

	for (unsigned i = 0; i < ARRAY_SIZE(nonsense); i++) {
		const char *answer = ask(nonsense[i]);

		if (*answer && *answer != 'E')
			fail_msg("'%s' is answered '%s'", nonsense[i], answer);
	}
	assert_int_equal(resumed, 0);
	assert_int_equal(session.points.breakpoint_count + session.points.watchpoint_count, 0);
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
}

/* --- registers --- */

/* How many the description has, and how long they are together. */
static unsigned described(const char *xml, unsigned *bytes)
{
	unsigned count = 0;

	*bytes = 0;
	while ((xml = strstr(xml, "bitsize=\""))) {
		xml += strlen("bitsize=\"");
		*bytes += (unsigned)atoi(xml) / 8;
		count++;
	}
	return count;
}

static void the_description_fits_the_registers(void **state)
{
	char *xml = registers_description(cpu->model), part[64];
	unsigned bytes, count = described(xml, &bytes);
	size_t length = strlen(xml);

	assert_int_equal(count, registers_count(cpu->model));
	assert_int_equal(strlen(ask("g")), 2 * bytes);
	assert_int_equal(register_size(cpu->model, count), 0);
	snprintf(part, sizeof(part), "qXfer:features:read:target.xml:%zx,100", length - 5);
	assert_answer(part, "lget>\n");
	assert_memory_equal(ask("qXfer:features:read:target.xml:0,10"), "m<?xml version=\"1", 17);
	assert_answer("qXfer:features:read:target.xml:ffffffffffffffff,1", "l");
	free(xml);
}

/* What is read can be written, and is still there. */
static void every_register_is_written_back(void **state)
{
	static char all[8 * REGISTERS_ROOM], packet[100];

	for (unsigned i = 0; i < sizeof(cpu->fpu.zmm); i++)
		((uint8_t *)cpu->fpu.zmm)[i] = (uint8_t)(i * 3);
	for (unsigned i = 0; i < 16; i++)
		cpu->gpr[i] = UINT64_C(0x1122334455667788) * (i + 1);
	cpu->fpu.x87[4] = 0x81;
	cpu->fpu.x87[3] = 7 << 3;
	all[0] = 'G';
	strcpy(all + 1, ask("g"));
	for (unsigned i = 0; i < registers_count(cpu->model); i++) {
		snprintf(packet, sizeof(packet), "p%x", i);
		snprintf(packet, sizeof(packet), "P%x=%s", i, ask(packet));
		assert_answer(packet, "OK");
	}
	assert_answer(all, "OK");
	assert_string_equal(ask("g"), all + 1);
}

static void registers_are_written(void **state)
{
	assert_answer("P1=efcdab8967452301", "OK"); /* RBX */
	assert_true(cpu->gpr[RBX] == UINT64_C(0x0123456789abcdef));
	assert_answer("p1", "efcdab8967452301");
	assert_answer("P10=0010000000800000", "OK");
	assert_true(cpu->rip == UINT64_C(0x0000800000001000));
	assert_answer("P11=d70e0000", "OK");
	assert_true(cpu_rflags(cpu) == 0xed7);
	assert_answer("P11=02000200", "E16"); /* VM in long mode */
	assert_answer("P12=08000000", "OK");  /* CS as it is */
	assert_answer("P12=10000000", "E16");
	assert_answer("Hg2", "OK");
	assert_answer("P12=00100000", "OK"); /* that one is in real mode */
	assert_int_equal(second->segment[SEG_CS].base, 0x10000);
	assert_answer("P1=efcdab8967452301", "OK");
	assert_answer("p1", "efcdab8900000000");
	assert_answer("p8", "0000000000000000");
}

/* --- memory --- */

static void memory_is_found_through_the_page_tables(void **state)
{
	uint64_t entry = get(TABLES + 0x2000 + 8, 8) & ~UINT64_C(0x60); /* A, D */

	put(TABLES + 0x2000 + 8, entry, 8);
	put(0x200000, 0x11223344, 4);
	assert_answer("m200000,4", "44332211");
	assert_answer("mffff800000200000,4", "44332211");
	assert_answer("M200001,2:aabb", "OK");
	assert_int_equal(get(0x200000, 4), 0x11bbaa44);
	/* Whoever may access it; and nothing of the tables changes. */
	put(TABLES + 0x2000 + 8, entry & ~UINT64_C(6), 8);
	cpu->cr4 |= cpu->model->cr4 & (CR4_SMAP | CR4_SMEP);
	assert_answer("M200000,1:77", "OK");
	assert_answer("m200000,1", "77");
	assert_int_equal(get(TABLES + 0x2000 + 8, 8), entry & ~UINT64_C(6));
	assert_answer("m7fff00000000,1", "E0e");
	assert_answer("m8000000000000000,1", "E0e");
	assert_answer("M7fff00000000,1:00", "E0e");
	/* Up to where it ends. */
	put(TABLES + 0x2000 + 7 * 8, 0, 8);
	assert_answer("mdfffff,4", "00");
	assert_answer("Mdfffff,2:1122", "E0e");
	assert_int_equal(get(0xdfffff, 1), 0);
	assert_answer("qqemu.PhyMemMode", "0");
	assert_answer("Qqemu.PhyMemMode:1", "OK");
	assert_answer("Mdfffff,2:1122", "OK");
	assert_answer("mfee00000,4", "E0e");
	assert_answer("mffffffffffffffff,2", "E0e");
}

static void bytes_are_written_as_they_are(void **state)
{
	static const char packet[] = "X300000,4:\x01}\x03}]\xff"; /* 01 '#' '}' ff */

	ask_bytes(packet, sizeof(packet) - 1);
	assert_string_equal(sent, "+$OK#9a");
	assert_int_equal(get(0x300000, 4), 0xff7d2301);
	assert_answer("m300000,4", "01237dff");
	assert_answer("X300000,0:", "OK");
}

static void code_that_is_written_is_dropped(void **state)
{
	uint32_t before = memory_code_track(&memory, 0x300, 0, 16);

	assert_answer("M300004,1:cc", "OK");
	assert_int_not_equal(atomic_load(&memory.code_generation[0x300]), before);
}

/* --- breakpoints --- */

static void points_come_and_go(void **state)
{
	char packet[40];

	assert_answer("Z0,1000,1", "OK");
	assert_answer("Z0,1000,1", "OK");
	assert_answer("Z1,1000,1", "OK");
	assert_int_equal(session.points.breakpoint_count, 2);
	assert_ptr_equal(cpu->debugger.points, &session.points);
	assert_ptr_equal(second->debugger.points, &session.points);
	assert_answer("z0,1000,1", "OK");
	assert_answer("z0,1000,1", "E16");
	assert_answer("z1,1000,1", "OK");
	assert_null(cpu->debugger.points);
	assert_answer("Z2,2000,8", "OK");
	assert_answer("Z3,2000,8", "OK");
	assert_answer("Z4,2000,8", "OK");
	assert_answer("z3,2000,8", "OK");
	assert_int_equal(session.points.watchpoint_count, 2);
	for (unsigned i = 0; i < DEBUGGER_BREAKPOINTS; i++) {
		snprintf(packet, sizeof(packet), "Z0,%x,1", i);
		assert_answer(packet, "OK");
	}
	assert_answer("Z0,1000,1", "E1c");
	session_close(&session);
	assert_null(cpu->debugger.points);
}

/* --- running --- */

static void the_machine_runs_as_it_is_told(void **state)
{
	assert_answer("vCont?", "vCont;c;C;s;S");
	assert_answer("vCont;c", "(nothing)");
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	assert_int_equal(machine.held, 0);
	assert_false(cpu->debugger.step || second->debugger.step);
	/* Ctrl-C. */
	assert_false(session_ready(&session));
	session_wake(&session);
	sent_size = 0;
	session_paused(&session);
	assert_string_equal(sent, "$T02thread:01;#04");
	assert_answer("vCont;s:2", "(nothing)");
	assert_int_equal(machine.held, 1);
	assert_true(second->debugger.step && !cpu->debugger.step);
	second->debugger.stop = DEBUGGER_STEPPED;
	machine_pause(&machine);
	sent_size = 0;
	session_paused(&session);
	assert_string_equal(sent, "$T05thread:02;#08");
	assert_false(second->debugger.step);
	assert_answer("vCont;s:1;c", "(nothing)");
	assert_int_equal(machine.held, 0);
	assert_true(cpu->debugger.step && !second->debugger.step);
}

static void a_stop_says_why(void **state)
{
	assert_memory_equal(ask("qSupported:swbreak+;hwbreak+"), "PacketSize=4000;", 16);
	assert_answer("Z0,1234,1", "OK");
	assert_answer("Z2,2000,8", "OK");
	assert_answer("c", "(nothing)");
	machine_pause(&machine);
	cpu->debugger.stop = DEBUGGER_BREAKPOINT;
	second->debugger.stop = DEBUGGER_WATCHPOINT;
	second->debugger.watch_address = 0x2000;
	second->debugger.watch_access = DEBUGGER_WRITE;
	sent_size = 0;
	session_paused(&session);
	assert_non_null(strstr(sent, "$T05thread:01;swbreak:;#"));
	/* What the other has met is told at once, and nothing runs. */
	assert_answer("c", "T05thread:02;watch:2000;");
	assert_int_equal(resumed, 1);
	assert_answer("c", "(nothing)");
	assert_int_equal(resumed, 2);
}

/* Another client's pause is told, and its resume is met by the next packet's pause. */
static void others_pause_the_machine_too(void **state)
{
	assert_answer("c", "(nothing)");
	machine_pause(&machine);
	sent_size = 0;
	session_paused(&session);
	assert_string_equal(sent, "$T02thread:01;#04");
	/* It is not this client's pause, so it stays when that goes. */
	assert_true(session_close(&session));
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
}

static void a_client_that_goes_lets_the_machine_run(void **state)
{
	assert_true(session_close(&session));
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
	/* With breakpoints it has to stop for that first. */
	session_open(&session);
	assert_answer("Z0,1000,1", "OK");
	assert_answer("c", "(nothing)");
	assert_false(session_close(&session));
	assert_true(session.closing);
	session_paused(&session);
	assert_false(session.closing);
	assert_null(cpu->debugger.points);
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
}

static void a_machine_that_waits_goes_on_waiting(void **state)
{
	session_close(&session);
	machine.phase = MACHINE_PHASE_PAUSED;
	session = (struct session){.machine = &machine, .send = on_send};
	session_open(&session);
	assert_answer("?", "T05thread:01;");
	assert_true(session_close(&session));
	assert_int_equal(machine.phase, MACHINE_PHASE_PAUSED);
	session_open(&session);
	assert_answer("D", "OK");
	assert_int_equal(machine.phase, MACHINE_PHASE_RUNNING);
}

static void ends_are_told(void **state)
{
	assert_answer("k", "(nothing)");
	assert_answer("vKill;1", "OK");
	assert_int_equal(quit, 2);
	sent_size = 0;
	session_ended(&session, (struct machine_result){MACHINE_QUIT, 1});
	assert_int_equal(sent_size, 0);
	assert_answer("c", "(nothing)");
	sent_size = 0;
	session_ended(&session, (struct machine_result){MACHINE_DEBUG_EXIT, 0x121});
	assert_string_equal(sent, "$W21#ba");
}

static void threads_are_vcpus(void **state)
{
	assert_answer("qfThreadInfo", "m01,02");
	assert_answer("qsThreadInfo", "l");
	assert_answer("qThreadExtraInfo,2", "4350552331205b776169747320666f7220534950495d");
}

static char *answer_monitor(void *opaque, const char *line, unsigned index)
{
	char *answer = NULL;

	assert_string_equal(line, "info");
	return asprintf(&answer, "%u\n", index) < 0 ? NULL : answer;
}

static void the_monitor_is_asked(void **state)
{
	assert_answer("qRcmd,696e666f", "");
	session.monitor = answer_monitor;
	assert_answer("qRcmd,696e666f", "300a");
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(broken_packets_are_refused),
		test(a_packet_that_is_too_long_is_an_error),
		test(nonsense_is_refused),
		test(the_description_fits_the_registers),
		test(every_register_is_written_back),
		test(registers_are_written),
		test(memory_is_found_through_the_page_tables),
		test(bytes_are_written_as_they_are),
		test(code_that_is_written_is_dropped),
		test(points_come_and_go),
		test(the_machine_runs_as_it_is_told),
		test(a_stop_says_why),
		test(others_pause_the_machine_too),
		test(a_client_that_goes_lets_the_machine_run),
		test(a_machine_that_waits_goes_on_waiting),
		test(ends_are_told),
		test(threads_are_vcpus),
		test(the_monitor_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
