# The programs of bench/programs, the first $(COUNT) of them.
programs := $(basename $(notdir $(sort $(wildcard $(BENCH)/programs/*.c))))

all: $(wordlist 1, $(COUNT), $(programs))

.PRECIOUS: %.o

%: %.o
	gcc -o $@ $< -lm

%.o: $(BENCH)/programs/%.c
	gcc -std=gnu17 -O2 -c $<
