# Programs that tests and benches run: load, faults, owners of runtimes

BENCH_OBJ  = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard bench/*.c))
FLOOR_OBJ  = $(filter %/socket.o %/floor.o %/floor_one.o %/floor_pass.o %/floor_ready.o,$(BENCH_OBJ))
LOAD_OBJ   = $(filter %/socket.o %/load.o %/call.o %/histogram.o,$(BENCH_OBJ))
CHAOS_OBJ  = $(patsubst %,$(BUILD)/obj/spec/chaos/%.o,call caller chaos monkey tally)
CROWD_OBJ  = $(patsubst %,$(BUILD)/obj/spec/%.o,crowd/crowd crowd/record chaos/monkey chaos/call)
RANDOM_OBJ = $(patsubst %,$(BUILD)/obj/spec/%.o,$(addprefix random/,ask delivery extend history judge \
             peer peer_read peer_send random spoil world) chaos/monkey chaos/call)

# floor: what the runtime is compared with; load: a load generator
BENCH_TOOLS = $(BUILD)/bench/floor $(BUILD)/bench/load
# chaos, queue: callers while workers are killed; crowd: one event-driven client with many
# connections; random: connections that do whatever a client may do; owner: owns a runtime
SPEC_TOOLS  = $(patsubst %,$(BUILD)/%,chaos/chaos chaos/queue crowd/crowd random/random spawn/owner)

$(BENCH_TOOLS): $(call objects,wire) $(call objects,base)
$(BUILD)/bench/floor: $(FLOOR_OBJ)
$(BUILD)/bench/load: $(LOAD_OBJ)

$(SPEC_TOOLS): $(LIB_OBJ)
$(BUILD)/chaos/chaos: $(CHAOS_OBJ)
$(BUILD)/chaos/queue: $(BUILD)/obj/spec/chaos/queue.o
$(BUILD)/crowd/crowd: $(CROWD_OBJ)
$(BUILD)/random/random: $(RANDOM_OBJ)
$(BUILD)/spawn/owner: $(BUILD)/obj/spec/spawn/owner.o

$(BENCH_TOOLS) $(SPEC_TOOLS): build-aux/programs.mk
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) $(filter %.o,$^) -lpthread -o $@

# What stands before the C library in specs: without sanitizers, as it comes first.
PRELOADS = $(BUILD)/preload/late_names.so

$(BUILD)/preload/%.so: spec/preload/%.c Makefile build-aux/programs.mk
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(filter-out $(SAN),$(OUR_CFLAGS)) -shared $< -ldl -o $@
