/* A mutex that one thread gets before others.
 *
 * A mutex promises no order. A thread that releases it and takes it again a moment later nearly
 * always succeeds, because a thread that slept on it needs some 50 us to wake up and then finds it
 * taken: several threads of this kind keep another out for seconds. A guest that enters devices all
 * the time makes every vCPU thread such a thread, and the I/O thread, which brings the user's
 * requests, must not wait for seconds because of that.
 *
 * So a thread with precedence holds the turnstile while it waits for the mutex, and sets `wanted`.
 * All others look at `wanted` first and, where it is set, pass the turnstile, that is, they wait
 * until the thread with precedence has the mutex. Only a thread that looked before `wanted` was set
 * can still get the mutex in between, and only once. Where nobody with precedence waits, the price
 * is one load. */
#ifndef VENEER_BASE_PRIORITY_LOCK_H
#define VENEER_BASE_PRIORITY_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct priority_lock {
	pthread_mutex_t mutex, turnstile;
	atomic_bool wanted; /* changed by the holder of the turnstile */
};

#define PRIORITY_LOCK_INITIALIZER                                                                  \
	{                                                                                          \
		.mutex = PTHREAD_MUTEX_INITIALIZER, .turnstile = PTHREAD_MUTEX_INITIALIZER         \
	}

static inline void priority_lock_init(struct priority_lock *lock)
{
	*lock = (struct priority_lock)PRIORITY_LOCK_INITIALIZER;
}

static inline void priority_lock_destroy(struct priority_lock *lock)
{
	pthread_mutex_destroy(&lock->mutex);
	pthread_mutex_destroy(&lock->turnstile);
}

static inline void priority_lock_take(struct priority_lock *lock)
{
	if (__builtin_expect(atomic_load_explicit(&lock->wanted, memory_order_relaxed), 0)) {
		pthread_mutex_lock(&lock->turnstile);
		pthread_mutex_unlock(&lock->turnstile);
	}
	pthread_mutex_lock(&lock->mutex);
}

/* Take it before all others that want it. */
static inline void priority_lock_take_first(struct priority_lock *lock)
{
	pthread_mutex_lock(&lock->turnstile);
	atomic_store_explicit(&lock->wanted, true, memory_order_relaxed);
	pthread_mutex_lock(&lock->mutex);
	atomic_store_explicit(&lock->wanted, false, memory_order_relaxed);
	pthread_mutex_unlock(&lock->turnstile);
}

static inline void priority_lock_release(struct priority_lock *lock)
{
	pthread_mutex_unlock(&lock->mutex);
}

/* Release it, wait on `condition`, and take it again, as pthread_cond_wait(3) does. */
static inline void priority_lock_wait(struct priority_lock *lock, pthread_cond_t *condition)
{
	pthread_cond_wait(condition, &lock->mutex);
}

#endif
