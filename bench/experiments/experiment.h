/* Timing shared by the experiments: rounds that run every contender once, and the median of each.
 */
#ifndef EXPERIMENT_H
#define EXPERIMENT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 101

static inline double experiment_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int experiment_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static inline double experiment_median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), experiment_compare);
	return v[n / 2];
}

#endif
