#include "host/fault.h"

#include "base/bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

/* Which owners were asked, in order; and which one says "mine". */
static char asked[16];
static char claimant;
static bool blocked[NSIG];

static bool note(char name)
{
	size_t length = strlen(asked);

	if (length < sizeof(asked) - 1)
		asked[length] = name;
	return name == claimant;
}

static bool translator(int signal, siginfo_t *info, void *context)
{
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	for (int i = 1; i < NSIG; i++)
		blocked[i] = sigismember(&now, i) == 1;
	return note('t');
}

static bool stub(int signal, siginfo_t *info, void *context)
{
	return note('s');
}

static bool fatal(int signal, siginfo_t *info, void *context)
{
	return note('f');
}

static void before(int signal)
{
	note('b');
}

static void before_info(int signal, siginfo_t *info, void *context)
{
	note(info->si_signo == signal && context ? 'i' : '?');
}

/* In the order that must not matter. */
static void handle_all(void)
{
	fault_handle(FAULT_FATAL, fatal);
	fault_handle(FAULT_NATIVE_STUB, stub);
	fault_handle(FAULT_TRANSLATED_CODE, translator);
}

static void set_handler(int number, void (*handler)(int))
{
	sigaction(number, &(struct sigaction){.sa_handler = handler}, NULL);
}

/* In each test and not before it: the test library installs handlers of its own around each. */
static void prepare(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++)
		set_handler(faults[i], before);
	handle_all();
	claimant = 0;
	memset(asked, 0, sizeof(asked));
}

static void owners_are_asked_in_order_until_one_claims(void **state)
{
	static const struct {
		char claimant;
		const char *asked;
	} cases[] = {{'t', "t"}, {'s', "ts"}, {'f', "tsf"}, {0, "tsfb"}};

	prepare();
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(cases); k++) {
			memset(asked, 0, sizeof(asked));
			claimant = cases[k].claimant;
			raise(faults[i]);
			assert_string_equal(asked, cases[k].asked);
		}
}

static void handlers_of_before_get_all_they_asked_for(void **state)
{
	struct sigaction action = {.sa_sigaction = before_info, .sa_flags = SA_SIGINFO};

	prepare();
	sigaction(SIGBUS, &action, NULL);
	handle_all();
	raise(SIGBUS);
	assert_string_equal(asked, "tsfi");
}

static void only_faults_can_interrupt_a_handler(void **state)
{
	prepare();
	claimant = 't';
	raise(SIGILL);
	assert_true(blocked[SIGTERM] && blocked[SIGURG] && blocked[SIGCONT] && blocked[SIGALRM]);
	assert_true(blocked[SIGILL]); /* itself */
	assert_false(blocked[SIGSEGV] || blocked[SIGBUS] || blocked[SIGFPE] || blocked[SIGTRAP] ||
		     blocked[SIGABRT] || blocked[SIGSYS]);
}

/* A handler's change of registers is where the thread goes on. */
static bool skip_ud2(int signal, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
	return true;
}

static void a_claimed_fault_goes_on_where_the_handler_says(void **state)
{
	unsigned passed = 0;

	prepare();
	fault_handle(FAULT_NATIVE_STUB, skip_ud2);
	__asm__ volatile("ud2; incl %0" : "+m"(passed));
	assert_int_equal(passed, 1);
}

/* In a handler for one fault, a fault of another kind. */
static bool fault_again(int signal, siginfo_t *info, void *context)
{
	if (signal == SIGILL) {
		note('1');
		raise(SIGTRAP);
		note('3');
		return skip_ud2(signal, info, context);
	}
	note('2');
	return true;
}

static void faults_nest(void **state)
{
	prepare();
	fault_handle(FAULT_TRANSLATED_CODE, fault_again);
	__asm__ volatile("ud2");
	assert_string_equal(asked, "123");
}

static int status_of_child(int signal, void (*disposition)(int), bool by_processor)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (!child) {
		alarm(20);
		set_handler(signal, disposition);
		handle_all();
		if (by_processor)
			__asm__ volatile("ud2");
		else
			raise(signal);
		_exit(1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void what_nobody_claims_ends_the_process(void **state)
{
	prepare();
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++) {
		int status = status_of_child(faults[i], SIG_DFL, false);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), faults[i]);
	}
	assert_int_equal(WTERMSIG(status_of_child(SIGILL, SIG_DFL, true)), SIGILL);
	/* The processor's cannot be ignored: the instruction would fault for ever. */
	assert_int_equal(WTERMSIG(status_of_child(SIGILL, SIG_IGN, true)), SIGILL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(owners_are_asked_in_order_until_one_claims),
		cmocka_unit_test(handlers_of_before_get_all_they_asked_for),
		cmocka_unit_test(only_faults_can_interrupt_a_handler),
		cmocka_unit_test(a_claimed_fault_goes_on_where_the_handler_says),
		cmocka_unit_test(faults_nest),
		cmocka_unit_test(what_nobody_claims_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
