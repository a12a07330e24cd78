/* A chained hash table with strings as keys: allocate, compare, look up, free. */
#include "bench.h"

#define BUCKETS 4096
#define KEYS    8192

static struct entry {
	struct entry *next;
	uint32_t hash;
	uint32_t hits;
	char key[24];
} * buckets[BUCKETS];

/* FNV-1a */
static uint32_t hash_string(const char *string)
{
	uint32_t hash = 2166136261;

	while (*string)
		hash = (hash ^ (uint8_t)*string++) * 16777619;
	return hash;
}

static struct entry *lookup(const char *key, bool insert)
{
	uint32_t hash = hash_string(key);
	struct entry **bucket = &buckets[hash % BUCKETS];
	struct entry *entry;

	for (entry = *bucket; entry; entry = entry->next) {
		if (entry->hash == hash && strcmp(entry->key, key) == 0)
			return entry;
	}
	if (!insert)
		return NULL;
	entry = malloc(sizeof(*entry));
	if (!entry)
		bench_die("malloc");
	entry->hash = hash;
	entry->hits = 0;
	strcpy(entry->key, key);
	entry->next = *bucket;
	*bucket = entry;
	return entry;
}

static void make_key(char *key, uint64_t number)
{
	static const char prefix[] = "key-";

	memcpy(key, prefix, 4);
	for (key += 4; number; number >>= 4)
		*key++ = "0123456789abcdef"[number & 15];
	*key = '\0';
}

static uint64_t hash_table(uint64_t count)
{
	uint64_t sum = 0;
	char key[24];

	for (uint64_t round = 0; round < count; round++) {
		uint64_t seed = round + 1;

		for (int i = 0; i < KEYS; i++) {
			make_key(key, bench_random(&seed) % (KEYS * 2));
			lookup(key, true)->hits++;
		}
		for (uint64_t i = 0; i < KEYS * 2; i++) {
			struct entry *entry;

			make_key(key, i);
			entry = lookup(key, false);
			sum = bench_mix(sum, entry ? entry->hits : 0);
		}
		for (int i = 0; i < BUCKETS; i++) {
			while (buckets[i]) {
				struct entry *next = buckets[i]->next;

				free(buckets[i]);
				buckets[i] = next;
			}
		}
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-hash", 75, hash_table);
}
