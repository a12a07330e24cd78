/* Two loops that want every register, for spill.py. Two arguments, no calls. */
#include <stdint.h>

#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define QUARTER(a, b, c, d)                                                                        \
	(a += b, d ^= a, d = ROTATE(d, 16), c += d, b ^= c, b = ROTATE(b, 12), a += b, d ^= a,     \
		d = ROTATE(d, 8), c += d, b ^= c, b = ROTATE(b, 7))

/* Three lanes of ChaCha's quarter round: 12 live values. */
long kernel_chacha(const uint32_t *p, long n)
{
	uint32_t a = p[0], b = p[1], c = p[2], d = p[3], e = p[4], f = p[5], g = p[6], h = p[7],
		 i = p[8], j = p[9], k = p[10], l = p[11];
	for (; n > 0; n--) {
		QUARTER(a, b, c, d);
		QUARTER(e, f, g, h);
		QUARTER(i, j, k, l);
		QUARTER(a, f, k, d);
		QUARTER(e, j, c, h);
		QUARTER(i, b, g, l);
	}
	return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ i ^ j ^ k ^ l;
}

/* SHA-256's rounds: eight live values, temporaries, two arrays. */
long kernel_rounds(const uint32_t *w, long n)
{
	uint32_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8;
	for (long i = 0; i < n; i++) {
		uint32_t t = h + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) +
			     ((e & f) ^ (~e & g)) + w[i & 63];
		uint32_t u = (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) +
			     ((a & b) ^ (a & c) ^ (b & c));
		h = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + u;
	}
	return a ^ e;
}
