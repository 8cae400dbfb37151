# Fuzzing, by libFuzzer, of what reads bytes of peers

FUZZ_SECONDS ?= 30
FUZZ_CC      ?= clang
FUZZ_FLAGS    = -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
                -fno-omit-frame-pointer
FUZZ_SRC      = $(wildcard runtime/base/*.c runtime/wire/*.c) \
                spec/c/walk.c
FUZZERS       = $(patsubst spec/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard spec/fuzz/fuzz_*.c))

fuzz: deps ## fuzz the wire's decoders for FUZZ_SECONDS (30) each
	@build-aux/deps.sh $(DEPS_FUZZ)
	@$(MAKE) --no-print-directory --silent fuzz-run

fuzz-run: $(FUZZERS)
	@LUA=$(LUA) spec/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZERS)

$(BUILD)/fuzz/%: spec/fuzz/%.c $(FUZZ_SRC) $(wildcard runtime/base/*.h runtime/wire/*.h spec/c/*.h) \
    Makefile build-aux/fuzz.mk
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) $(filter-out -fPIC $(SAN),$(OUR_CFLAGS)) \
	    $(filter %.c,$^) -lm -o $@

.PHONY: fuzz fuzz-run
