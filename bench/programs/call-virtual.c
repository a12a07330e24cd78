/*
 * Objects of several kinds in a tree, each evaluated by a function that its kind names: what
 * virtual functions are to an object-oriented program.
 */
#include "bench.h"

enum { LEAVES = 64 };

struct object;

struct kind {
	uint64_t (*value)(const struct object *object);
	void (*step)(struct object *object, uint64_t by);
};

struct object {
	const struct kind *kind;
	struct object *left, *right;
	uint64_t number;
};

static uint64_t leaf_value(const struct object *object)
{
	return object->number;
}

static void leaf_step(struct object *object, uint64_t by)
{
	object->number += by;
}

static uint64_t sum_value(const struct object *object)
{
	return object->left->kind->value(object->left) + object->right->kind->value(object->right);
}

static uint64_t larger_value(const struct object *object)
{
	uint64_t left = object->left->kind->value(object->left);
	uint64_t right = object->right->kind->value(object->right);

	return left > right ? left : right;
}

static void both_step(struct object *object, uint64_t by)
{
	object->left->kind->step(object->left, by);
	object->right->kind->step(object->right, by ^ 5);
}

static const struct kind leaf = {leaf_value, leaf_step};
static const struct kind sum = {sum_value, both_step};
static const struct kind larger = {larger_value, both_step};

static uint64_t evaluate(uint64_t count)
{
	static struct object objects[2 * LEAVES];
	uint64_t state = 1, total = 0;

	for (unsigned i = 1; i < 2 * LEAVES; i++) {
		objects[i].number = bench_random(&state) & 0xffff;
		objects[i].kind = i >= LEAVES ? &leaf : objects[i].number & 1 ? &sum : &larger;
		if (i < LEAVES) {
			objects[i].left = &objects[2 * i];
			objects[i].right = &objects[2 * i + 1];
		}
	}
	while (count--) {
		objects[1].kind->step(&objects[1], count & 7);
		total = bench_mix(total, objects[1].kind->value(&objects[1]));
	}
	return total;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "call-virtual", 100000, evaluate);
}
