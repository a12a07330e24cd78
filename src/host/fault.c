#include "host/fault.h"

#include "base/bits.h"

#include <stdatomic.h>
#include <stddef.h>

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

static _Atomic(fault_handler *) handlers[FAULT_OWNERS];
static struct sigaction previous[NSIG];

/* Do what the process would have done without us. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
	const struct sigaction *action = &previous[signal];

	if (action->sa_flags & SA_SIGINFO) {
		action->sa_sigaction(signal, info, context);
	} else if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN) {
		sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		raise(signal); /* one that kill(2) sent would not come again by itself */
	} else {
		action->sa_handler(signal);
	}
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	for (unsigned owner = 0; owner < FAULT_OWNERS; owner++) {
		fault_handler *handler = atomic_load(&handlers[owner]);

		if (handler && handler(signal, info, context))
			return;
	}
	pass_on(signal, info, context);
}

void fault_other_signals(sigset_t *mask)
{
	sigfillset(mask);
	for (unsigned i = 0; i < ARRAY_SIZE(fault_signals); i++)
		sigdelset(mask, fault_signals[i]);
	sigdelset(mask, SIGABRT);
	sigdelset(mask, SIGSYS);
}

static void install(int signal)
{
	/* With the translator, RSP may be the guest's when a signal comes. */
	struct sigaction now, action = {.sa_sigaction = on_fault,
				      .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

	fault_other_signals(&action.sa_mask);
	sigaction(signal, NULL, &now);
	if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault)
		return;
	previous[signal] = now;
	sigaction(signal, &action, NULL);
}

void fault_handle(enum fault_owner owner, fault_handler *handler)
{
	atomic_store(&handlers[owner], handler);
	for (unsigned i = 0; i < ARRAY_SIZE(fault_signals); i++)
		install(fault_signals[i]);
}
