# vmoec: two commands for users, `make run` and `make test`; the rest is for developers (make help).
.DEFAULT_GOAL := build

ifeq ($(origin CC),default) # make's own default is cc
CC      := gcc
endif
BUILD   ?= build
VERSION := 0.1.0
# Of the sources; sources that came without their repository may name it: make COMMIT=...
COMMIT  ?= $(shell [ -z "$$(git rev-parse --show-prefix 2>&1)" ] && git rev-parse --short=12 HEAD || echo unknown)
LLVM_CONFIG ?= llvm-config-19
MODE    ?= release

# `make V=1` shows the commands.
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-3s %s\n' $(1) $(2))

# Targets that build many things use every core, unless make was given a -j of its own.
JOBS     = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
SUBMAKE  = $(MAKE) --no-print-directory $(JOBS)

WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
# What a mistake in memory meets in everything that is shipped: the compiler, its shared object, the
# library, and the kit of the programs that it builds (tests/hardening looks for each of them).
accepts  = $(shell echo 'int x;' | $(CC) -Werror $(1) -xc -c - -o /dev/null 2>&1 || echo no)
HARDEN  := -fPIE -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
HARDEN  += $(if $(call accepts,-fstack-clash-protection),,-fstack-clash-protection)
CFLAGS_release := -O2 -g $(HARDEN)
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
# What chooses between versions of a function runs before ThreadSanitizer does: there is one version.
CFLAGS_tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer -D'target_clones(...)=unused' \
                  -isystem tests/hardening/alone -Wno-c23-extensions
# Coverage-guided fuzzing needs clang, for which OpenMP's pragmas are comments: one thread does it all.
CFLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer \
                  -fno-sanitize-recover=undefined -Wno-unknown-pragmas
OPENMP         := $(if $(filter fuzz,$(MODE)),,-fopenmp)
CFLAGS  := -std=c11 -D_GNU_SOURCE -I. $(WARN) $(CFLAGS_$(MODE)) $(OPENMP) -ffp-contract=off $(EXTRA_CFLAGS)
LDFLAGS_release := -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,-z,text
LDFLAGS_asan    := -fsanitize=address,undefined
LDFLAGS_tsan    := -fsanitize=thread
LDFLAGS := $(LDFLAGS_$(MODE)) $(OPENMP)

# Asked when used, so that `make setup` works before LLVM is there.
LLVM_CFLAGS = -isystem $(shell $(LLVM_CONFIG) --includedir)
LLVM_LIBS   = $(shell $(LLVM_CONFIG) --ldflags --libs)
LIBS        = -ljansson -larchive -lturbojpeg -lspng -lz -lxxhash -lm

# The C files of folders and of their rooms.
sources  = $(sort $(foreach d,$(1),$(wildcard $(d)/*.c $(d)/*/*.c)))
SRC     := $(call sources,base recipe ir frontend passes interp codegen runtime cli driver)
OBJ     := $(SRC:%.c=$(BUILD)/obj/%.o)
MADE    := $(BUILD)/obj/compiler_id.o $(BUILD)/obj/version.o
# What only a program has that is vmoec from its first instruction on.
MAIN_OBJ := $(BUILD)/obj/driver/commands/main.o $(BUILD)/obj/cli/ending.o
LIB_OBJ := $(filter-out $(MAIN_OBJ),$(OBJ)) $(MADE)

# What needs LLVM is a shared object of its own, which only the processes that compile load: the files that
# include codegen/build/emit.h or a header that does, at one remove or two. It finds the rest of the compiler in the program that loads it.
include_of  = $(foreach h,$(1),-e 'include "$(h)"')
BACKEND_HDR := codegen/build/emit.h $(shell grep -lF $(call include_of,codegen/build/emit.h) codegen/*/*.h)
BACKEND_HDR := $(sort $(BACKEND_HDR) $(shell grep -lF $(call include_of,$(BACKEND_HDR)) codegen/*/*.h))
BACKEND_SRC := $(shell grep -lF $(call include_of,$(BACKEND_HDR)) codegen/*/*.c)
BACKEND_OBJ := $(BACKEND_SRC:%.c=$(BUILD)/obj/%.o)
PROGRAM_OBJ := $(filter-out $(BACKEND_OBJ),$(LIB_OBJ)) $(MAIN_OBJ)
# The sources that decide what code is made: kept code of another compiler is not used.
ID_SRC  := $(sort $(wildcard $(foreach d,base recipe ir passes codegen codegen/*,$(d)/*.c $(d)/*.h $(d)/*.def))) \
           runtime/exec/abi.h

# The library: everything below the commands. Who links it exports its symbols (LIBRARY_LINK), for the shared object
# with LLVM.
LIBRARY      := $(BUILD)/libvmoec.a
LIBRARY_OBJ  := $(filter-out $(BACKEND_OBJ) $(BUILD)/obj/interp/% $(BUILD)/obj/driver/commands/% \
                $(BUILD)/obj/driver/lsp/% $(BUILD)/obj/driver/bench/% $(BUILD)/obj/driver/build/% \
                $(BUILD)/obj/cli/%,$(LIB_OBJ))
LIBRARY_LINK  = -rdynamic -Wl,--whole-archive $(LIBRARY) -Wl,--no-whole-archive $(LIBS)

# The kit: what a program that vmoec builds is linked with, and the headers of what it is made of. That of
# another machine is made with its own compiler and has the libraries, too, which lie as that machine's
# packages have them, below KIT_ROOT: make kit TARGET=aarch64-linux-gnu
TARGET   ?=
KIT_ROOT ?=
KIT      := $(BUILD)/kit$(addprefix -,$(TARGET))
KIT_CC   := $(if $(TARGET),$(TARGET)-gcc$(addprefix $() -isystem ,$(addsuffix /usr/include,$(KIT_ROOT))),$(CC))
KIT_AR   := $(if $(TARGET),$(TARGET)-ar,ar)
KIT_MORE := $(if $(TARGET),$(addprefix $(KIT)/,libjansson.a libxxhash.a libz.a))
KIT_LIB  := $(KIT)/libvmoec-trainer.a
KIT_SRC  := $(filter-out trainer/web/%,$(call sources,base recipe runtime cli trainer))
KIT_OBJ  := $(KIT_SRC:%.c=$(KIT)/obj/%.o) $(KIT)/obj/version.o
KIT_HDR  := $(addprefix $(KIT)/include/,base/json.h base/status.h recipe/recipe.h $(wildcard recipe/*.def) \
            runtime/exec/abi.h trainer/built.h trainer/library/api.h)
# Position independent in every way, because libraries are made of it too.
KIT_CFLAGS = $(CFLAGS) -fPIC -ffunction-sections -fdata-sections -fvisibility=hidden

# The kit of modules for browsers: what predicting takes of the same sources, for one thread, and what a page is made
# of. Of C's library only headers and archives of wasi-libc are used; a module asks nothing of WASI.
ifeq ($(TARGET),wasm32)
KIT_CC   := clang-19
KIT_AR   := llvm-ar-19
WASI     := $(KIT_ROOT)/usr
KIT_LIB  := $(KIT)/libvmoec-web.a
KIT_SRC  := $(wildcard trainer/web/*.c) base/status.c \
            $(addprefix runtime/,$(addsuffix .c,exec/check exec/engine exec/exact exec/init exec/memory exec/step \
            exec/table data/image_pixels data/query data/resize train/softmax))
KIT_OBJ  := $(KIT_SRC:%.c=$(KIT)/obj/%.o)
KIT_HDR  := $(addprefix $(KIT)/include/,runtime/exec/abi.h trainer/web/web.h) \
            $(patsubst trainer/page/%,$(KIT)/page/%,$(wildcard trainer/page/*))
KIT_MORE := $(KIT)/libc.a $(KIT)/librt-wasm32.a
KIT_CFLAGS = --target=wasm32-wasi -mcpu=mvp -msimd128 -mbulk-memory -mmutable-globals -mnontrapping-fptoint \
             -msign-ext -isystem $(WASI)/include/wasm32-wasi -D_WASI_EMULATED_SIGNAL -std=c11 -D_GNU_SOURCE -I. \
             $(WARN) -Wno-unknown-pragmas -O2 -ffp-contract=off -ffunction-sections -fdata-sections -fvisibility=hidden
endif

# The C files of tests/ make one Criterion binary (fuzz_*.c and those of library/, build_lib/ and photos/ are programs,
# and fuzz/targets/ is for fuzzing and for replay/); tests/<area>/run.sh are shell suites.
LIBRARY_TESTS := $(wildcard tests/library/*.c)
PHOTO_SRC := tests/photos/photos.c
# What programs under test are loaded with: allocations that fail, rights that are taken away. And what tries them.
PRELOADS := tests/faults/malloc.c tests/hardening/jail.c
HELPERS  := tests/hardening/tries.c
TEST_SRC := $(filter-out $(wildcard tests/*/fuzz_*.c tests/build_lib/*.c) tests/fuzz/util_fuzz.c tests/fuzz/targets/% tests/replay/% \
            $(PRELOADS) $(HELPERS) tests/hardening/alone/main.c tests/fuzz/programs/main.c $(LIBRARY_TESTS) $(PHOTO_SRC),$(call sources,$(wildcard tests/*)))
TEST_OBJ := $(TEST_SRC:%.c=$(BUILD)/obj/%.o)
TEST_BIN := $(BUILD)/tests/vmoec-tests
DOC_BIN  := $(BUILD)/tests/reference
PRELOAD_LIB := $(PRELOADS:tests/%.c=$(BUILD)/tests/%.so)
HELPER_BIN  := $(HELPERS:tests/%.c=$(BUILD)/tests/%)
# The runtime's tests without Criterion, for ThreadSanitizer.
ALONE_SRC := $(call sources,tests/unit/runtime tests/hardening/alone) tests/ops/util_jit.c tests/ops/util_case.c \
             tests/unit/codegen/util_program.c tests/unit/util_shell.c
ALONE_OBJ := $(ALONE_SRC:%.c=$(BUILD)/obj/%.o)
ALONE_BIN := $(BUILD)/tests/alone
# Random programs against the reference: many in one process, as the tests have some.
PROGRAMS_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/fuzz/programs/*.c))
PROGRAMS_BIN := $(BUILD)/tests/programs
# Makes the photos of tests/photos.
PHOTO_BIN := $(BUILD)/tests/photos
LIBRARY_BIN := $(LIBRARY_TESTS:tests/library/%.c=$(BUILD)/tests/library-%)

# Coverage-guided fuzzing, a program per row of tests/fuzz/targets.def. Another program has all of them, to replay
# their corpora; their entrances are called fuzz_<name> there.
FUZZ_TARGETS := $(shell sed -n 's/^TARGET.\([a-z_]*\),.*/\1/p' tests/fuzz/targets.def)
FUZZ_BIN     := $(FUZZ_TARGETS:%=$(BUILD)/fuzz/%)
FUZZ_LIB     := $(BUILD)/libfuzzed.a
FUZZ_OBJ     := $(FUZZ_TARGETS:%=$(BUILD)/obj/tests/fuzz/targets/%.o)
REPLAY_BIN   := $(BUILD)/tests/replay
FUZZ_HELPERS := $(BUILD)/obj/tests/fuzz/util_fuzz.o

.PHONY: build
build: $(BUILD)/vmoec $(BUILD)/vmoec-llvm.so $(if $(filter release,$(MODE)),$(KIT_LIB) $(KIT_HDR)) ## build the compiler: build/vmoec and, beside it, vmoec-llvm.so

$(BACKEND_OBJ): CFLAGS += $(LLVM_CFLAGS)
$(BACKEND_OBJ) $(BUILD)/obj/compiler_id.o: CFLAGS += -fPIC
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(dir $@)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

.PHONY: always
$(BUILD)/obj/compiler_id.c: always
	@mkdir -p $(dir $@)
	@printf 'extern const char cg_compiler_id[];\nconst char cg_compiler_id[] = "%s";\n' \
	    "$$({ cat $(ID_SRC); $(LLVM_CONFIG) --version; } | sha256sum | cut -c1-32)" > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/obj/version.c: always
	@mkdir -p $(dir $@)
	@printf '#include "base/version.h"\nconst char vm_version[] = "%s", vm_commit[] = "%s", vm_llvm_version[] = "%s";\n' \
	    '$(VERSION)' '$(COMMIT)' "$$($(LLVM_CONFIG) --version)" > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(MADE): %.o: %.c
	$(Q)$(CC) $(CFLAGS) -c $< -o $@

$(BUILD)/vmoec: $(PROGRAM_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -pie -rdynamic $^ -o $@ $(LIBS)

$(KIT)/obj/%.o: %.c
	@mkdir -p $(dir $@)
	$(call say,CC,$@)
	$(Q)$(KIT_CC) $(KIT_CFLAGS) -MMD -MP -c $< -o $@

$(KIT)/obj/version.o: $(BUILD)/obj/version.c
	@mkdir -p $(dir $@)
	$(Q)$(KIT_CC) $(KIT_CFLAGS) -c $< -o $@

$(KIT_LIB): $(KIT_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@.new && $(KIT_AR) rcs $@.new $^ && mv $@.new $@

$(KIT)/include/%: %
	@mkdir -p $(dir $@)
	@cp $< $@

$(KIT)/page/%: trainer/page/%
	@mkdir -p $(dir $@)
	@cp $< $@

ifeq ($(TARGET),wasm32)
$(KIT)/libc.a: $(WASI)/lib/wasm32-wasi/libc.a
	@mkdir -p $(dir $@)
	@cp $< $@

$(KIT)/librt-wasm32.a: $(WASI)/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a
	@mkdir -p $(dir $@)
	@cp $< $@
else
$(KIT_MORE): $(KIT)/%.a: $(KIT_ROOT)/usr/lib/$(TARGET)/%.a
	@mkdir -p $(dir $@)
	@cp $< $@
endif

.PHONY: kit
kit: $(KIT_LIB) $(KIT_HDR) $(KIT_MORE) ## build what programs are made of, also for another machine: TARGET=aarch64-linux-gnu or wasm32

# Its own compiler_id, whatever the program that loads it says.
$(BUILD)/vmoec-llvm.so: $(BACKEND_OBJ) $(BUILD)/obj/compiler_id.o
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -shared -Wl,-Bsymbolic $^ -o $@ $(LLVM_LIBS)

.PHONY: library
library: $(LIBRARY) $(BUILD)/vmoec-llvm.so ## build vmoec as a library: build/libvmoec.a (docs/library.md)

$(LIBRARY): $(LIBRARY_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@.new && ar rcs $@.new $^ && mv $@.new $@

$(LIBRARY_BIN): $(BUILD)/tests/library-%: $(BUILD)/obj/tests/library/%.o $(LIBRARY)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $< $(LIBRARY_LINK) -o $@

$(TEST_BIN): $(LIB_OBJ) $(TEST_OBJ)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ -lcriterion $(LLVM_LIBS) $(LIBS)

$(PROGRAMS_BIN): $(LIB_OBJ) $(PROGRAMS_OBJ)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LLVM_LIBS) $(LIBS)

PLAIN = $(CC) -std=c11 -D_GNU_SOURCE -I. $(WARN) -O2 -g
$(ALONE_BIN): $(LIB_OBJ) $(ALONE_OBJ)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LLVM_LIBS) $(LIBS)

$(PRELOAD_LIB): $(BUILD)/tests/%.so: tests/%.c $(wildcard tests/hardening/*.def)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(PLAIN) -shared -fPIC $< -o $@

$(HELPER_BIN): $(BUILD)/tests/%: tests/%.c
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(PLAIN) $< -o $@ -pthread

$(PHOTO_BIN): $(PHOTO_SRC)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 $< -o $@ -lturbojpeg -lz

$(DOC_BIN): $(filter $(BUILD)/obj/base/% $(BUILD)/obj/recipe/% $(BUILD)/obj/ir/%,$(OBJ)) $(BUILD)/obj/docs/reference.o
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LIBS)

-include $(BUILD)/obj/tests/fuzz/programs/main.d $(FUZZ_OBJ:.o=.d) $(FUZZ_HELPERS:.o=.d) $(BUILD)/obj/tests/replay/replay.d \
         $(OBJ:.o=.d) $(KIT_OBJ:.o=.d) $(sort $(TEST_OBJ:.o=.d) $(ALONE_OBJ:.o=.d)) \
         $(LIBRARY_TESTS:%.c=$(BUILD)/obj/%.d) $(BUILD)/obj/docs/reference.d

# `make && sudo make install`: what is there is installed as it is, so that nothing is built as root.
PREFIX  ?= /usr/local
PLACES   = BUILD='$(BUILD)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)'
.PHONY: install
install: ## install into PREFIX (default /usr/local), below DESTDIR (docs/install.md)
	@[ -x $(BUILD)/vmoec ] || $(SUBMAKE) build
	@$(PLACES) scripts/install.sh install

.PHONY: uninstall
uninstall: ## remove what `make install` put there
	@$(PLACES) scripts/install.sh uninstall

.PHONY: deb
deb: build ## make a Debian package: build/vmoec_VERSION_ARCHITECTURE.deb
	@BUILD='$(BUILD)' VERSION='$(VERSION)' scripts/deb.sh

.PHONY: setup
setup: ## install what is missing to build, run and test (Debian packages)
	@scripts/setup.sh run test

.PHONY: run
run: ## set up, build, and train the example model on Fashion-MNIST
	@scripts/setup.sh run
	@$(SUBMAKE) build
	$(BUILD)/vmoec train models/vmoe_fmnist.vmoe

.PHONY: tests
tests: $(TEST_BIN) $(PROGRAMS_BIN) $(PRELOAD_LIB) $(HELPER_BIN) $(LIBRARY_BIN) $(PHOTO_BIN) $(REPLAY_BIN) ## build the unit tests

.PHONY: test
test: ## set up, build, and run every test; ends with "N passed, N failed, N skipped"
	@scripts/setup.sh run test
	@$(SUBMAKE) build tests
	@BUILD=$(BUILD) tests/run_all.sh

.PHONY: test-unit
test-unit: $(TEST_BIN) ## run the unit tests alone
	@BUILD=$(BUILD) tests/run_all.sh --unit

.PHONY: test-asan
test-asan: ## run unit tests, language server, corpora and what vmoec builds under AddressSanitizer and UBSan (build-asan/)
	@scripts/setup.sh run test
	@$(SUBMAKE) BUILD=build-asan MODE=asan build kit tests
	@BUILD=build-asan tests/run_all.sh --unit lsp replay build build_lib

# clang, because its OpenMP tells ThreadSanitizer what it does and gcc's does not.
.PHONY: test-tsan
test-tsan: ## run the runtime's tests, and training, under ThreadSanitizer (build-tsan/)
	@scripts/setup.sh run test threads
	@$(SUBMAKE) BUILD=build-tsan MODE=tsan CC=clang-19 build threads
	@BUILD=build-tsan tests/hardening/threads.sh

.PHONY: threads
threads: $(ALONE_BIN)

# The power goes in vmoec and in trainers, and one run is killed and handed on. FAULTS_CRASHES, FAULTS_SEED.
.PHONY: test-crashes
test-crashes: ## resume from thousands of disks as a crash of the machine leaves them; prints how many
	@scripts/setup.sh run test
	@$(SUBMAKE) build
	@FAULTS=long BUILD=$(BUILD) tests/faults/run.sh disk trainer:disk relay

# FAULTS_PARTS: some of the parts that tests/faults/run.sh lists; FAULTS_SEED, FAULTS_RUNS, FAULTS_FLIPS.
.PHONY: test-faults
test-faults: ## the long form of tests/faults: kills, damaged files, failing calls; prints a table (FAULTS_PARTS=..)
	@scripts/setup.sh run test
	@$(SUBMAKE) build
	@FAULTS=long BUILD=$(BUILD) tests/faults/run.sh $(FAULTS_PARTS)

# Other libraries' products, one program each, for those that are installed.
GEMMS            := openblas blis onednn xsmm
GEMM_LIBS_openblas := -lopenblas
GEMM_LIBS_blis   := -lblis
GEMM_LIBS_onednn := -ldnnl
GEMM_LIBS_xsmm   := -lxsmm -lxsmmnoblas -ldl -lpthread
GEMM_SRC_openblas := bench/gemm/cblas.c
GEMM_SRC_blis    := bench/gemm/cblas.c
GEMM_SRC_onednn  := bench/gemm/onednn.c
GEMM_SRC_xsmm    := bench/gemm/xsmm.c
GEMM_BIN         := $(GEMMS:%=$(BUILD)/bench/gemm-%)

.SECONDEXPANSION:
$(GEMM_BIN): $(BUILD)/bench/gemm-%: bench/gemm/main.c bench/gemm/gemm.h $$(GEMM_SRC_$$*)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) -O3 -DGEMM_$* $(filter %.c,$^) -o $@ $(LDFLAGS) $(GEMM_LIBS_$*) -lm 2> $@.log || \
	    echo "      $* is not installed ($@.log): no comparison with it"

# BENCH: parts of bench/compare.py; QUICK=1: one short round; PYTHON: an interpreter with the frameworks to compare with.
PYTHON ?= python3
.PHONY: bench
bench: ## compare with the peers installed, write their tables into docs/ (BENCH=part,.. QUICK=1 PYTHON=..)
	@$(SUBMAKE) build $(GEMM_BIN)
	@$(PYTHON) bench/compare.py --build $(BUILD) $(if $(BENCH),--part $(BENCH)) $(if $(QUICK),--quick)

FUZZ_SECONDS ?= 60
FUZZ_MODE    := BUILD=build-fuzz MODE=fuzz CC=clang-19

$(BUILD)/obj/tests/fuzz/targets/%.o: tests/fuzz/targets/%.c
	@mkdir -p $(dir $@)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) $(if $(filter fuzz,$(MODE)),,-DLLVMFuzzerTestOneInput=fuzz_$*) -MMD -MP -c $< -o $@

$(FUZZ_LIB): $(filter-out $(MAIN_OBJ),$(PROGRAM_OBJ))
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(FUZZ_BIN): $(BUILD)/fuzz/%: $(BUILD)/obj/tests/fuzz/targets/%.o $(FUZZ_HELPERS) $(FUZZ_LIB)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) -fsanitize=fuzzer,address,undefined $^ -o $@ $(LIBS) -l:libgomp.so.1

$(REPLAY_BIN): $(BUILD)/obj/tests/replay/replay.o $(FUZZ_OBJ) $(FUZZ_HELPERS) $(FUZZ_LIB)
	@mkdir -p $(dir $@)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ -o $@ $(LIBS)

.PHONY: fuzz-binaries
fuzz-binaries: $(FUZZ_BIN)

.PHONY: fuzz-targets
fuzz-targets: ## build the targets of coverage-guided fuzzing (build-fuzz/fuzz/, clang)
	@scripts/setup.sh run fuzz
	@$(SUBMAKE) $(FUZZ_MODE) fuzz-binaries

.PHONY: fuzz-run
fuzz-run: fuzz-targets ## run them in turn, go on where they stopped, print a table (FUZZ_SECONDS=60 FUZZ_TARGET=..)
	@tests/fuzz/engine.sh run $(FUZZ_SECONDS) $(or $(FUZZ_TARGET),$(FUZZ_TARGETS))

.PHONY: fuzz-merge
fuzz-merge: fuzz-targets ## keep of what they found the few inputs that reach all of it, in tests/fuzz/corpus/ (FUZZ_TARGET=..)
	@tests/fuzz/engine.sh merge $(or $(FUZZ_TARGET),$(FUZZ_TARGETS))

FUZZ_ITERATIONS ?= 200000
.PHONY: fuzz
fuzz: tests ## a long run of the fuzzers: parser, graphs, models (FUZZ_ITERATIONS, SEED)
	@BUILD=$(BUILD) tests/fuzz/run.sh $(FUZZ_ITERATIONS) $(SEED)
	@VMOEC_FUZZ_N=$(FUZZ_ITERATIONS) VMOEC_FUZZ_SEED=$(or $(SEED),1) $(BUILD)/tests/vmoec-tests --filter 'mutate/*'

# Goes on where an earlier run of the same SEED stopped; what fails is printed with its seed, for
# build/tests/programs reduce SEED.
PROGRAMS  ?= 1000
FUZZ_JOBS ?= $(shell nproc)
.PHONY: programs
programs: tests ## random programs against the reference (PROGRAMS=1000 SEED=1 FUZZ_JOBS=..), build/programs has what was found
	@mkdir -p $(BUILD)/programs && chmod 700 $(BUILD)/programs
	@VMOEC_MODELS=models $(BUILD)/tests/programs run --first $(or $(SEED),1) --count $(PROGRAMS) --jobs $(FUZZ_JOBS) \
	    --state $(BUILD)/programs/state --cache $(abspath $(BUILD)/programs/kernels)

.PHONY: lint
lint: build ## check includes, headers, format, sizes, warnings (gcc and clang), and what was built
	@BUILD=$(BUILD) LLVM_CONFIG=$(LLVM_CONFIG) scripts/lint.sh

.PHONY: format
format: ## format every .c and .h
	@scripts/lint.sh --list | xargs clang-format-19 -i

.PHONY: docs
docs: $(DOC_BIN) build ## write docs/ops.md, docs/recipe.md and the tables that docs/language.md and docs/models.md have
	$(DOC_BIN) ops > docs/ops.md.new
	@mv docs/ops.md.new docs/ops.md
	$(DOC_BIN) recipe > docs/recipe.md.new
	@mv docs/recipe.md.new docs/recipe.md
	$(DOC_BIN) initialisers | awk '!ready { table = table $$0 "\n"; next } \
	    /^\| initialiser \| in IR/ { printf "%s", table; old = 1 } /^$$/ { old = 0 } !old' - ready=1 docs/language.md \
	    > docs/language.md.new
	@mv docs/language.md.new docs/language.md
	$(BUILD)/vmoec manual textmate > editors/vscode/syntaxes/vmoe.tmLanguage.json
	$(BUILD)/vmoec manual vim > editors/vim/syntax/vmoe.vim
	$(BUILD)/vmoec explain all > docs/diagnostics.md.new
	@mv docs/diagnostics.md.new docs/diagnostics.md
	scripts/models.py $(BUILD)/vmoec

.PHONY: clean
clean: ## remove what was built
	rm -rf build build-*

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
