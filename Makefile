# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A thin shell around meson: "make help" says what there is.

.DEFAULT_GOAL := all
.PHONY: all help deps run test check vm-test proof bench fuzz analyze mutation coverage install clean

all: build/build.ninja
	@if [ -t 1 ]; then ninja -C build; else log=$$(ninja -C build 2>&1) || { echo "$$log"; exit 1; }; fi

help:
	@echo 'make            build in build/'
	@echo 'make run        build a nested storage stack here, and watch stackd protect it (root)'
	@echo 'make test       every test: gcc, clang with sanitizers, aarch64, 32 bits, guests (root, or the guests fail)'
	@echo 'make check      what needs no guest, with gcc and fewer rounds: under two minutes'
	@echo 'make vm-test    the scenarios in guests; SCENARIO=name for one of them, SUITE=bookworm|trixie|sid (root)'
	@echo 'make proof      stacks that hang without stackd, and complete with it; RUNS=10, PROOF=name, SUITE=name (root, hours)'
	@echo 'make bench      measure with thousands of mounts, devices and processes (root; a quarter of an hour)'
	@echo 'make fuzz       let fuzzers run over tests/fuzz/corpus/; FUZZ=name for one of them, SECONDS=60 for each'
	@echo 'make analyze    gcc -fanalyzer, cppcheck, clang-tidy, valgrind: silent, or findings'
	@echo 'make mutation   mistakes made on purpose where it is decided, and how many the tests notice; RUNS=200'
	@echo 'make coverage   lines and branches that make check runs through'
	@echo 'make install    install; DESTDIR= as ever'
	@echo 'make deps       install the packages that all of these need (root, Debian 12 or 13)'
	@echo 'make clean      remove the build directories'

deps:
	@tools/install-deps build check cross bench guest demo

run:
	@tools/install-deps build demo
	@$(MAKE) --no-print-directory all
	@tools/demo

test:
	@tools/install-deps build check cross guest
	@tests/run

check:
	@tests/run --quick gcc

vm-test:
	@tests/run guest $(if $(SUITE),--suite $(SUITE)) $(foreach name,$(SCENARIO),--scenario $(name))

proof:
	@tools/install-deps build guest
	@[ -f build-vm/build.ninja ] || meson setup --buildtype=release --prefix=/usr --libdir=lib/x86_64-linux-gnu --sysconfdir=/etc build-vm >/dev/null
	@ninja -C build-vm >/dev/null
	@DESTDIR=$(CURDIR)/build-vm/dest meson install -C build-vm --no-rebuild --quiet
	@tests/proof/run.py --destdir build-vm/dest --output build-vm/proof --runs $(or $(RUNS),10) $(if $(SUITE),--suite $(SUITE)) $(PROOF)
	@tests/proof/report.py build-vm/proof --plots build-vm/proof/plots >build-vm/proof/table.md

bench: all
	@tools/install-deps bench guest
	@meson test -C build --benchmark --no-rebuild --verbose --num-processes 1
	@printf '\n| what | here | beside it | ratio | at most | reached |\n| --- | --- | --- | --- | --- | --- |\n'
	@cat build/tests/bench/*.txt
	@ls build/tests/bench/*.svg

fuzz:
	@tests/fuzz/run $(or $(SECONDS),60) $(FUZZ)

analyze:
	@tools/install-deps build check analyze
	@tests/analyze

mutation:
	@tools/install-deps build
	@tests/mutation/mutate.py --runs $(or $(RUNS),200) build-mutation

# What ends in a child of stackd, and what runs in guests only, is not counted.
coverage:
	@tools/install-deps build check analyze
	@[ -f build-coverage/build.ninja ] || meson setup --buildtype=debug -Db_coverage=true build-coverage >/dev/null
	@STACKD_TEST_QUICK=1 meson test -C build-coverage --timeout-multiplier 3
	@gcovr --root . --exclude tests/ --exclude build --print-summary build-coverage

install: all
	@meson install -C build --no-rebuild --quiet

clean:
	rm -rf build build-clang build-aarch64 build-i386 build-armhf build-fuzz build-vm build-analyze build-mutation build-coverage

build/build.ninja:
	@command -v meson >/dev/null || { echo 'There is no meson here. What building takes is installed by: sudo tools/install-deps build' >&2; exit 1; }
	@meson setup --buildtype=release -Dwerror=true build . >/dev/null
