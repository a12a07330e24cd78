/* The hot loops of the memory experiment, compiled with two host registers kept free (RCX and R10,
 * the translator's scratch) and then rewritten by reach.py, once for each way to reach a memory
 * operand. Pointers inside the data are guest addresses. */
#include <stdint.h>

/* Shell sort: loads with an index, branches nobody can predict. */
long kernel_sort(int *a, long n)
{
	for (long gap = n / 2; gap > 0; gap /= 2)
		for (long i = gap; i < n; i++) {
			int x = a[i];
			long j = i;
			for (; j >= gap && a[j - gap] > x; j -= gap)
				a[j] = a[j - gap];
			a[j] = x;
		}
	return a[n / 3];
}

struct node {
	struct node *next;
	long value;
	char pad[48];
};

/* A list in random order that stays in the L1 cache: every load waits for the one before. */
long kernel_chase(const struct node *p, long n)
{
	long sum = 0;
	for (long i = 0; i < n; i++) {
		sum += p->value;
		p = p->next;
	}
	return sum;
}

/* CRC-32 by table: a load whose address depends on the load before. */
long kernel_crc(const uint8_t *p, long n, const uint32_t *table)
{
	uint32_t crc = ~0u;
	for (long i = 0; i < n; i++)
		crc = table[(uint8_t)(crc ^ p[i])] ^ crc >> 8;
	return crc;
}

/* A sum over an array: nothing but throughput. */
long kernel_sum(const long *p, long n)
{
	long sum = 0;
	for (const long *end = p + n; p < end; p += 4)
		sum += p[0] + p[1] + p[2] + p[3];
	return sum;
}

#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))

/* SHA-256's message schedule and rounds, message in memory. */
long kernel_sha(uint32_t *w, long blocks, const uint32_t *k)
{
	uint32_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8;
	for (long block = 0; block < blocks; block++) {
		for (int i = 16; i < 64; i++)
			w[i] = w[i - 16] + w[i - 7] +
			       (ROTATE(w[i - 15], 7) ^ ROTATE(w[i - 15], 18) ^ w[i - 15] >> 3) +
			       (ROTATE(w[i - 2], 17) ^ ROTATE(w[i - 2], 19) ^ w[i - 2] >> 10);
		for (int i = 0; i < 64; i++) {
			uint32_t t = h + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) +
				     ((e & f) ^ (~e & g)) + k[i] + w[i];
			uint32_t u = (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) +
				     ((a & b) ^ (a & c) ^ (b & c));
			h = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + u;
		}
		w[block & 15] ^= a;
	}
	return a ^ e;
}

struct particle {
	long x, y, vx, vy, hits;
};

/* Fields of a struct, read and written: base and displacement, what most code does. */
long kernel_fields(struct particle *p, long n)
{
	long hits = 0;
	for (long i = 0; i < n; i++, p++) {
		p->x += p->vx;
		p->y += p->vy;
		if (p->x & 1)
			p->vx = -p->vx;
		hits += ++p->hits;
	}
	return hits;
}
