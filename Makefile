# larder: one Makefile, nothing generated into the tree, everything built in .build/<flavour>/.
#
# CFLAGS CPPFLAGS LDFLAGS LDLIBS CC AR LD belong to whoever types make and come last; our own
# flags are collected in other variables, so that `make CFLAGS=-O3` switches nothing off.
#
#   FLAVOUR=release|debug|asan|tsan|cov   any target, in a folder of its own (fuzz: by `make fuzz`)
#   BUILD=dir                             instead of .build, e.g. for two makes at the same time
#   ROOMS="cas/base pack"                 only these folders of the library (while others do not compile)
#   T=pattern                             only the tests whose name contains it
#   V=1                                   show the commands;  WERROR=1  warnings are errors

VERSION := 0.1.0
MAJOR   := 1

FLAVOUR ?= release
BUILD   ?= .build
B       := $(BUILD)/$(FLAVOUR)

MAKEFLAGS += -rR --no-print-directory
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
.SUFFIXES:
.SECONDARY:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
ifeq ($(origin LD),default)
LD := ld
endif
# With -R make forgets its defaults: what is not given is what Debian calls them.
CC      := $(or $(CC),gcc)
AR      := $(or $(AR),ar)
LD      := $(or $(LD),ld)
OBJCOPY ?= objcopy
NM      ?= nm
INSTALL ?= install

ARCH  := $(shell $(CC) -dumpmachine | cut -d- -f1)
CLANG := $(findstring clang,$(shell $(CC) --version 2>/dev/null | head -n 1))

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man
DATADIR    ?= $(PREFIX)/share

# ---------------------------------------------------------------------------------------------
# Flags

HARDEN_x86_64  := -fcf-protection=full
HARDEN_aarch64 := -mbranch-protection=standard
HARDEN         := -fstack-protector-strong -fstack-clash-protection -fno-strict-overflow \
                  $(HARDEN_$(ARCH)) $(if $(CLANG),,-ftrivial-auto-var-init=zero)
FORTIFY        := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
WARN           := -Wall -Wextra -Wconversion -Wshadow -Wvla -Wundef -Wcast-qual -Wformat=2 \
                  -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes

CFLAGS_release := -O2 -g $(FORTIFY) $(HARDEN)
CFLAGS_debug   := -Og -g3 $(FORTIFY) $(HARDEN)
CFLAGS_asan    := -O1 -g
CFLAGS_tsan    := -O1 -g
CFLAGS_cov     := -O0 -g
CFLAGS_fuzz    := -O1 -g -DLARDER_FUZZER
# What compiler and linker both must know.
PROBE_asan     := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
PROBE_tsan     := -fsanitize=thread
PROBE_cov      := --coverage
PROBE_fuzz     := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
                  -fno-omit-frame-pointer

cflags  = -std=c11 -D_GNU_SOURCE -I. -fPIC -fvisibility=hidden -pthread $(WARN) \
          $(CFLAGS_$(FLAVOUR)) $(PROBE_$(FLAVOUR)) -DLARDER_VERSION='"$(VERSION)"' \
          $(if $(SABOTAGE),-DLARDER_SABOTAGE=$(SABOTAGE)) $(CPPFLAGS) $(CFLAGS)
ldflags = -pthread -Wl,-z,relro,-z,now,-z,noexecstack $(PROBE_$(FLAVOUR)) $(LDFLAGS)
werror  = $(if $(WERROR),-Werror)

OUR_LDLIBS  := -llmdb -lzstd -lpthread
TEST_LDLIBS := -lcmocka -lcrypto

# Lane files: more instructions than the machine may have, so nothing in them runs before
# cas/base/cpu.c was asked. The NEON ones need no flags: NEON belongs to aarch64.
$(B)/obj/cas/base/sha256_avx512.o:   lane_x86_64  := -O3 -mavx512f -mavx512bw
$(B)/obj/cas/base/sha256_avx512vl.o: lane_x86_64  := -O3 -mavx512f -mavx512vl
$(B)/obj/cas/base/sha256_avx2.o:     lane_x86_64  := -O3 -mavx2
$(B)/obj/cas/base/sha256_instr.o:    lane_x86_64  := -O3 -msha -msse4.1
$(B)/obj/cas/base/sha256_instr.o:    lane_aarch64 := -O3 -march=armv8-a+sha2
$(B)/obj/cas/base/crc32c_instr.o:    lane_x86_64  := -O3 -msse4.2
$(B)/obj/cas/base/crc32c_instr.o:    lane_aarch64 := -O3 -march=armv8-a+crc
$(B)/obj/cas/object/chunker_avx2.o:  lane_x86_64  := -O3 -mavx2
$(B)/obj/cas/object/chunker_vnni.o:  lane_x86_64  := -O3 -mavx512f -mavx512bw -mavx512vnni

# ---------------------------------------------------------------------------------------------
# What there is. Folders that do not exist yet are simply empty.

ROOMS     ?= cas cas/base cas/object cas/archive cas/record index pack remote
LIB_SRC   := $(filter-out cas/archive/child_main.c,$(sort $(wildcard $(ROOMS:%=%/*.c))))
CLI_SRC   := $(sort $(wildcard cli/*.c cli/serve/*.c))
DOUBLES   := $(sort $(wildcard tests/*.c tests/doubles/*.c))
pick       = $(if $(T),$(foreach f,$(1),$(if $(findstring $(T),$(f)),$(f))),$(1))
# Every flavour builds every test, except that the thread sanitizer only gets those which ask for
# it with a line `FLAVOURS: release asan tsan`.
marked     = $(if $(filter tsan,$(FLAVOUR)),$(if $(1),$(shell grep -l 'FLAVOURS:.*tsan' $(1))),$(1))
UNIT_SRC  := $(call marked,$(call pick,$(sort $(wildcard tests/unit/t_*.c))))
STORY_SRC := $(call marked,$(call pick,$(sort $(wildcard tests/story/s_*.c))))
FAULT_SRC := $(call marked,$(call pick,$(sort $(wildcard tests/fault/f_*.c))))
FUZZ_SRC  := $(if $(filter tsan,$(FLAVOUR)),,$(call pick,$(sort $(wildcard fuzz/fuzz_*.c))))
BENCH_SRC := $(call pick,$(sort $(wildcard tests/bench/b_*.c)))

obj        = $(patsubst %.c,$(B)/obj/%.o,$(1))
UNITS     := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)
STORIES   := $(STORY_SRC:tests/story/%.c=$(B)/story/%)
FAULTS    := $(FAULT_SRC:tests/fault/%.c=$(B)/fault/%)
FUZZERS   := $(FUZZ_SRC:fuzz/%.c=$(B)/fuzz/%)
BENCHES   := $(BENCH_SRC:tests/bench/%.c=$(B)/bench/%)

HEADER    := $(if $(wildcard cas/larder.h),$(B)/include/larder.h) $(B)/include/larder/sys.h
LIBRARY   := $(B)/liblarder.a
SHARED    := $(if $(filter fuzz,$(FLAVOUR)),,$(if $(wildcard cas/larder.map),$(B)/liblarder.so.$(MAJOR)))
PROGRAM   := $(if $(wildcard cli/main.c),$(B)/larder)

say        = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2);)

## all        program, libraries, folded header, man pages, completions (the default)
.PHONY: all
all: $(PROGRAM) $(LIBRARY) $(SHARED) $(HEADER) $(B)/larder.pc $(if $(PROGRAM),$(B)/pages)

# ---------------------------------------------------------------------------------------------
# How things are made

# Rewritten only when the flags change, so that a change of flags rebuilds. Not -Werror: it
# changes no object.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(cflags) $(ldflags))' | cmp -s - $@ || \
	    printf '%s\n' '$(subst ','\'',$(CC) $(cflags) $(ldflags))' > $@
.PHONY: FORCE
FORCE:

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(cflags) $(include_$(word 2,$(subst /, ,$<))) $(lane_$(ARCH)) $(werror) -MMD -MP -c -o $@ $<

# The internal library: unit tests, fuzz targets and benches may look into every room.
$(B)/libplain.a: $(call obj,$(LIB_SRC)) $(B)/members
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(call obj,$(LIB_SRC))

# The harness and the doubles; a test takes what it calls.
$(B)/libtest.a: $(call obj,$(DOUBLES)) $(B)/members
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(call obj,$(DOUBLES))

# A file that is gone must leave the libraries too.
$(B)/members: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(LIB_SRC) $(DOUBLES)' | cmp -s - $@ || printf '%s\n' '$(LIB_SRC) $(DOUBLES)' > $@

# The library of embedders is one object whose hidden symbols are made local: their index_open()
# cannot collide with ours, and our names stay short. The probes of the other flavours want their
# objects as they were compiled.
ifneq ($(filter release debug,$(FLAVOUR)),)
$(LIBRARY): $(call obj,$(LIB_SRC)) $(B)/members
	$(call say,LD,$@)$(LD) -r -o $(B)/liblarder.o $(call obj,$(LIB_SRC)) && \
	    $(OBJCOPY) --localize-hidden $(B)/liblarder.o && rm -f $@ && $(AR) rcs $@ $(B)/liblarder.o
else
$(LIBRARY): $(B)/libplain.a
	$(call say,CP,$@)cp $< $@
endif

$(B)/liblarder.so.$(MAJOR): $(call obj,$(LIB_SRC)) $(B)/members cas/larder.map
	$(call say,LD,$@)$(CC) -shared -Wl,-soname,$(@F) -Wl,--version-script=cas/larder.map \
	    $(if $(CLANG),,-Wl,-z,defs) $(ldflags) -o $@ $(call obj,$(LIB_SRC)) $(OUR_LDLIBS) $(LDLIBS) && \
	    ln -sf $(@F) $(B)/liblarder.so

# What an embedder includes: the vocabulary folded in at its #include.
$(B)/include/larder.h: cas/larder.h cas/types.h
	@mkdir -p $(@D)
	$(call say,FOLD,$@)sed -e '/^#include "cas\/types.h"/{r cas/types.h' -e 'd;}' cas/larder.h > $@

$(B)/include/larder/sys.h: cas/sys.h
	@mkdir -p $(@D)
	$(call say,FOLD,$@)sed -e 's|^#include "cas/types.h"|#include <larder.h>|' cas/sys.h > $@

$(B)/larder.pc: $(B)/flags Makefile
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' 'Name: larder' \
	    'Description: Content-addressed store that keeps equal bytes once' 'Version: $(VERSION)' \
	    'Libs: -L$${libdir} -llarder' 'Libs.private: $(OUR_LDLIBS)' 'Cflags: -I$${includedir}' > $@

# The program carries the library in itself, so that it starts fast.
$(B)/larder: $(call obj,$(CLI_SRC)) $(LIBRARY)
	$(call say,LD,$@)$(CC) $(ldflags) -o $@ $(call obj,$(CLI_SRC)) $(LIBRARY) $(OUR_LDLIBS) $(LDLIBS)

# Man pages and completions come out of the program's own table of commands. A page that the
# program does not know (yet) is left out and breaks nothing.
COMMANDS := $(subst _,-,$(patsubst cli/cmd_%.c,%,$(wildcard cli/cmd_*.c)))
$(B)/pages: $(B)/larder $(wildcard cli/man/*)
	@mkdir -p $(B)/man $(B)/completion
	$(call say,PAGES,$(B)/man)for c in '' $(COMMANDS); do \
	    page=$(B)/man/larder$${c:+-$$c}.1; \
	    timeout 10 $(B)/larder help --man $$c > $$page 2>/dev/null </dev/null && test -s $$page || rm -f $$page; \
	done; \
	for s in bash zsh fish; do \
	    timeout 10 $(B)/larder completion $$s > $(B)/completion/$$s 2>/dev/null </dev/null && \
	    test -s $(B)/completion/$$s || rm -f $(B)/completion/$$s; \
	done; \
	cp cli/man/*.[0-9] $(B)/man/ 2>/dev/null; touch $@

# Tests. Unit tests see every room and link the plain objects; stories see what an embedder sees.
include_story := -I$(B)/include
include_fault := -I$(B)/include
$(call obj,$(STORY_SRC) $(FAULT_SRC)): $(HEADER)

$(B)/unit/%: $(B)/obj/tests/unit/%.o $(B)/libtest.a $(B)/libplain.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ldflags) -o $@ $^ $(TEST_LDLIBS) $(OUR_LDLIBS) $(LDLIBS)

$(B)/story/%: $(B)/obj/tests/story/%.o $(B)/libtest.a $(LIBRARY)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ldflags) -o $@ $^ $(TEST_LDLIBS) $(OUR_LDLIBS) $(LDLIBS)

$(B)/fault/%: $(B)/obj/tests/fault/%.o $(B)/libtest.a $(LIBRARY)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ldflags) -o $@ $^ $(TEST_LDLIBS) $(OUR_LDLIBS) $(LDLIBS)

$(B)/bench/%: $(B)/obj/tests/bench/%.o $(B)/libtest.a $(B)/libplain.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ldflags) -o $@ $^ $(TEST_LDLIBS) $(OUR_LDLIBS) $(LDLIBS)

# Without the fuzzer the driver replays files through the same targets.
fuzz_main := $(if $(filter fuzz,$(FLAVOUR)),,$(B)/obj/fuzz/driver.o)
$(B)/fuzz/%: $(B)/obj/fuzz/%.o $(fuzz_main) $(B)/libtest.a $(B)/libplain.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ldflags) $(if $(filter fuzz,$(FLAVOUR)),-fsanitize=fuzzer) -o $@ $^ $(OUR_LDLIBS) $(LDLIBS)

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)

# ---------------------------------------------------------------------------------------------
# Tests

## programs   everything that tests need, in one flavour
.PHONY: programs units stories faults fuzzers benches
programs: all units stories faults fuzzers
units: $(UNITS)
stories: $(STORIES)
faults: $(FAULTS)
fuzzers: $(FUZZERS)
benches: $(BENCHES)

## test       set up, build release, asan and what is marked for tsan, run everything; T=pattern picks
.PHONY: test
test: setup
	@$(MAKE) WERROR=1 FLAVOUR=release programs
	@$(MAKE) WERROR=1 FLAVOUR=asan programs
	@$(MAKE) WERROR=1 FLAVOUR=tsan units stories
	@BUILD=$(BUILD) T='$(T)' tests/run

## try        the same in one flavour and without setup: make try T=pack FLAVOUR=asan
.PHONY: try
try:
	@$(MAKE) FLAVOUR=$(FLAVOUR) T='$(T)' $(if $(filter tsan,$(FLAVOUR)),units stories,$(if $(T),units stories faults fuzzers,programs))
	@BUILD=$(BUILD) T='$(T)' FLAVOURS=$(FLAVOUR) tests/run

## unit       build and run the unit tests only, one flavour: make unit T=pack ROOMS="cas/base pack"
.PHONY: unit
unit:
	@$(MAKE) FLAVOUR=$(FLAVOUR) T='$(T)' units
	@BUILD=$(BUILD) T='$(T)' FLAVOURS=$(FLAVOUR) KINDS=unit tests/run

## crash      the fault campaign of tests/fault/ with its large numbers: hours; T=pattern picks
.PHONY: crash
crash: setup
	@$(MAKE) FLAVOUR=release all faults
	@$(MAKE) FLAVOUR=asan faults
	@FAULT_FULL=1 BUILD=$(BUILD) T='$(T)' KINDS=fault FLAVOURS='release asan' tests/run

## demo       set up, build, take in the estate and prove that it comes back equal (ESTATE=path)
.PHONY: demo
demo: setup
	@$(MAKE) FLAVOUR=$(FLAVOUR) all
	@LARDER=$(B)/larder BUILD=$(BUILD) ESTATE='$(ESTATE)' tests/demo.sh

## check      layers, headers alone, symbols, style
.PHONY: check check-layers check-headers check-symbols check-style
check: check-layers check-headers check-symbols check-style

sources   = $(shell find cas index pack remote cli -name '*.[ch]' 2>/dev/null | sort)
all_files = $(shell find cas index pack remote cli tests fuzz -name '*.[ch]' 2>/dev/null | sort)

check-layers:
	@awk -f tests/layers.awk $(sources)

check-style:
	@awk -f tests/style.awk $(all_files)

# Each header compiled alone: as a file that includes it and nothing else, twice.
header_flags = $(filter-out -DLARDER_VERSION%,$(cflags))
check-headers: $(HEADER)
	@printf '%s\n' $(filter %.h,$(all_files)) | xargs -P $$(nproc) -I{} sh -c ' \
	    printf "#include \"%s\"\n#include \"%s\"\ntypedef int alone;\n" {} {} | \
	    $(CC) $(header_flags) -I$(B)/include -Werror -fsyntax-only -x c - || \
	    { echo "{}: does not stand alone"; exit 255; }'
	@for h in $(if $(wildcard cas/larder.h),$(HEADER)); do \
	    printf '#include "%s"\nint main() { return 0; }\n' $$h | \
	    $(CC) -I$(B)/include -Wall -Wextra -Werror -fsyntax-only -x c++ - && \
	    printf '#include "%s"\nint main(void) { return 0; }\n' $$h | \
	    $(CC) -std=c11 -I$(B)/include -Wall -Wextra -Werror -fsyntax-only -x c - || exit 1; done

# Exported = declared LARDER_API, no more and no less.
check-symbols: $(SHARED)
	@$(if $(SHARED),$(NM) -D --defined-only $(SHARED) | awk '$$2 ~ /[A-Z]/ && $$2 != "A" { sub(/@.*/, "", $$3); print $$3 }' \
	    | sort -u > $(B)/symbols.have && \
	    awk -f tests/symbols.awk $(wildcard cas/larder.h) cas/sys.h | sort -u > $(B)/symbols.want && \
	    diff -u --label 'declared LARDER_API' --label 'exported by $(SHARED)' $(B)/symbols.want $(B)/symbols.have,:)

## fuzz       libFuzzer on every target in turn; TARGET=x TIME=seconds for one
TIME ?= 60
.PHONY: fuzz fuzz-targets
fuzz:
	@$(MAKE) FLAVOUR=fuzz CC=clang fuzzers
	@for f in $(if $(TARGET),fuzz_$(TARGET:fuzz_%=%),$(notdir $(basename $(wildcard fuzz/fuzz_*.c)))); do \
	    name=$${f#fuzz_}; new=$(BUILD)/fuzz/corpus/$$name; mkdir -p $$new fuzz/corpus/$$name; \
	    echo "== $$name, $(TIME) s"; \
	    $(BUILD)/fuzz/fuzz/$$f -max_total_time=$(TIME) -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
	        -artifact_prefix=$(BUILD)/fuzz/crash-$$name- $$new fuzz/corpus/$$name || exit 1; \
	done

## fuzz-merge what the fuzzer found new goes into fuzz/corpus/, smallest set
.PHONY: fuzz-merge
fuzz-merge:
	@for d in $(BUILD)/fuzz/corpus/*/; do name=$$(basename $$d); mkdir -p fuzz/corpus/$$name; \
	    $(BUILD)/fuzz/fuzz/fuzz_$$name -merge=1 fuzz/corpus/$$name $$d || exit 1; done

## bench      builds and runs tests/bench/b_*.c; T=pattern picks
.PHONY: bench
bench:
	@$(MAKE) FLAVOUR=$(FLAVOUR) all benches
	@for b in $(BENCHES); do echo "== $${b##*/}"; LARDER=$(B)/larder $$b || exit 1; done

# ---------------------------------------------------------------------------------------------
# Setup

PACKAGES := build-essential pkg-config liblmdb-dev libzstd-dev
PACKAGES += libcmocka-dev bats libssl-dev clang libclang-rt-14-dev strace attr acl jq e2fsprogs
PACKAGES += clang-format python3

## setup      installs the Debian packages that are missing; milliseconds when none is
.PHONY: setup
setup:
	@command -v dpkg-query >/dev/null || { \
	    echo 'setup: not a Debian system; needed: $(PACKAGES)'; exit 0; }; \
	have=" $$(dpkg-query -W -f '$${Package}:$${db:Status-Status} ' $(PACKAGES) 2>/dev/null) "; \
	missing=; for p in $(PACKAGES); do \
	    case "$$have" in *" $$p:installed "*) ;; *) missing="$$missing $$p" ;; esac; done; \
	test -z "$$missing" && exit 0; \
	if test "$$(id -u)" = 0; then as=; elif sudo -n true 2>/dev/null; then as='sudo -n'; else \
	    echo "setup: please run: sudo apt-get install$$missing" >&2; exit 1; fi; \
	echo "setup: installing$$missing"; \
	get="$$as env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0"; \
	$$get install -y --no-install-recommends $$missing >/dev/null 2>&1 || { \
	    $$get update && $$get install -y --no-install-recommends $$missing >/dev/null; }

# ---------------------------------------------------------------------------------------------
# Giving it away

## install    PREFIX DESTDIR BINDIR LIBDIR INCLUDEDIR MANDIR
.PHONY: install uninstall
install: all
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/larder
	$(INSTALL) -m 755 $(B)/larder $(DESTDIR)$(BINDIR)/larder
	$(INSTALL) -m 644 $(B)/liblarder.a $(DESTDIR)$(LIBDIR)/liblarder.a
	$(INSTALL) -m 755 $(B)/liblarder.so.$(MAJOR) $(DESTDIR)$(LIBDIR)/liblarder.so.$(MAJOR)
	ln -sf liblarder.so.$(MAJOR) $(DESTDIR)$(LIBDIR)/liblarder.so
	$(INSTALL) -m 644 $(B)/include/larder.h $(DESTDIR)$(INCLUDEDIR)/larder.h
	$(INSTALL) -m 644 $(B)/include/larder/sys.h $(DESTDIR)$(INCLUDEDIR)/larder/sys.h
	$(INSTALL) -m 644 $(B)/larder.pc $(DESTDIR)$(LIBDIR)/pkgconfig/larder.pc
	@for page in $(B)/man/*.[0-9]; do test -e $$page || continue; \
	    dir=$(DESTDIR)$(MANDIR)/man$${page##*.}; $(INSTALL) -d $$dir && $(INSTALL) -m 644 $$page $$dir/ || exit 1; done
	@put() { test -e $(B)/completion/$$1 || return 0; \
	    $(INSTALL) -d $(DESTDIR)$(DATADIR)/$$2 && $(INSTALL) -m 644 $(B)/completion/$$1 $(DESTDIR)$(DATADIR)/$$2/$$3; }; \
	put bash bash-completion/completions larder && put zsh zsh/site-functions _larder && \
	put fish fish/vendor_completions.d larder.fish

## uninstall  what install put there, with the same variables
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/larder $(DESTDIR)$(LIBDIR)/liblarder.a $(DESTDIR)$(LIBDIR)/liblarder.so \
	    $(DESTDIR)$(LIBDIR)/liblarder.so.$(MAJOR) $(DESTDIR)$(LIBDIR)/pkgconfig/larder.pc \
	    $(DESTDIR)$(INCLUDEDIR)/larder.h $(DESTDIR)$(INCLUDEDIR)/larder/sys.h \
	    $(DESTDIR)$(MANDIR)/man1/larder.1 $(DESTDIR)$(MANDIR)/man1/larder-*.1 \
	    $(DESTDIR)$(MANDIR)/man3/larder.3 $(DESTDIR)$(MANDIR)/man5/larder-*.5 \
	    $(DESTDIR)$(DATADIR)/bash-completion/completions/larder \
	    $(DESTDIR)$(DATADIR)/zsh/site-functions/_larder $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/larder.fish
	-rmdir $(DESTDIR)$(INCLUDEDIR)/larder 2>/dev/null

## dist       larder-VERSION.tar.gz of what is committed, the same bytes every time
.PHONY: dist
dist:
	@mkdir -p $(BUILD)
	git archive --format=tar --prefix=larder-$(VERSION)/ HEAD | gzip -n -9 > $(BUILD)/larder-$(VERSION).tar.gz

## format     clang-format over the tree
.PHONY: format
format:
	clang-format -i $(all_files)

## clean      removes .build
.PHONY: clean
clean:
	rm -rf $(BUILD)

## help       this
.PHONY: help
help:
	@sed -n 's/^## /  /p' Makefile; echo; sed -n '/^#   /s/^#  //p' Makefile
