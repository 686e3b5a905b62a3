# The verbs of Pagestone: people, CI and documents use the same ones. `make help` lists them.
CARGO ?= cargo
ROUNDS ?= 200
STATES ?= 60000
STEPS ?= 2000000
SECONDS ?= 60
SCHEDULES ?= 100
CUTS ?= 20
# The crates that users build. Each is built alone, because a workspace unifies features, and none of these may need the feature
# `internals` of pagestone.
BUILT_BY_USERS := pagestone pagestone-cli pagestone-ffi pagestone-redb pagestone-sqlite pagestone-tantivy pagestone-benches
# The oldest Rust that builds the crates others build.
MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
DISK ?= $(PGS_TARGET)
# A separate workspace: its dependencies are built only for it.
COMPARE := benches/compare/Cargo.toml
SPEEDTEST1 ?= $(PGS_TARGET)/sqlite-suite/build/speedtest1
need = command -v $(1) >/dev/null || { echo "make $@ needs $(1), which is not installed ($(2))"; exit 1; }

.DEFAULT_GOAL := help
# What `make test-long` runs.
LONG ?= crash-long oracle loom-deep linear shuttle fuzz faults
.PHONY: help demo test test-long breaks mutants lint tidy loom loom-deep linear shuttle crash crash-long oracle kill faults fuzz asan miri tsan valgrind bench-compare bench-hit bench-laws bench-redb bench-sqlite bench-tantivy test-redb test-dax breaks-dax test-sqlite install-cli doc clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run SQLite on Pagestone with real data, kill it with SIGKILL, check that nothing is lost (DB=file.sqlite: on a copy of yours)
	@echo "make demo: builds first, silently for minutes where nothing is built yet"
	@$(CARGO) run --quiet --locked --release -p pagestone-cli -- demo $(if $(DB),--db "$(DB)")

test: ## everything that CI runs: stable Rust, offline after `cargo fetch`; the last line counts what was skipped on this machine
	@CARGO="$(CARGO)" sh tests/all.sh

test-long: ## the long form of every test, and one table of results (LONG='crash-long oracle ...' picks)
	sh tests/long.sh $(LONG)

breaks: ## break each promise once in a copy of the tree: the test named beside it must fail (ONLY=words picks, JOBS=n copies at a time)
	sh tests/breaks/run.sh

mutants: ## 490 small mistakes in the state word, the log and recovery: a test must notice each, or tests/mutants/survivors excuse it (hours; ONLY=regex, LIST=1; cargo-mutants)
	sh tests/mutants/run.sh

lint: tidy doc ## formatting, clippy, documentation and house rules; licences and advisories if cargo-deny is installed
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path $(COMPARE) --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	for package in $(BUILT_BY_USERS); do $(CARGO) clippy --locked --quiet -p $$package -- -D warnings || exit 1; done
	RUSTFLAGS="--cfg pagestone_shuttle" $(CARGO) check --locked --quiet --target-dir $(PGS_TARGET)/shuttle -p pagestone-tests --lib --bin shuttle --bin linear
	@if command -v cargo-deny >/dev/null; then cargo deny --workspace check && cargo deny --manifest-path $(COMPARE) check --config deny.toml advisories licenses sources; else echo "lint: cargo-deny is not installed: licences and advisories were not checked"; fi

tidy: ## the house rules alone: imports, unsafe, comments, file lengths
	$(CARGO) test --locked -p pagestone-tests --test tidy

loom: ## models of the frame table on the real code, and mutants that they must catch
	sh tests/loom/run.sh

linear: ## record what threads do on one store and check that each history is linearizable (HISTORIES, SCHEDULES, SEED)
	sh tests/linear/run.sh

loom-deep: ## the same models with a deeper search, each for at most LOOM_MAX_DURATION=60 s
	sh tests/loom/run.sh deep

shuttle: ## schedules of several threads on one store, the crash states of each, and broken rules that must be noticed (SCHEDULES=100 a case, SEED=n)
	RUSTFLAGS="--cfg pagestone_shuttle" CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true $(CARGO) run --quiet --locked --release --target-dir $(PGS_TARGET)/shuttle -p pagestone-tests --bin shuttle -- --schedules $(SCHEDULES) $(if $(SEED),--seed $(SEED))

crash: ## long runs of the log's schedules, then crash images of mixed workloads, each recovered and checked (STATES=60000, SEED=n)
	PAGESTONE_CRASH=long $(CARGO) test --locked --release -p pagestone-tests --test crash -- --nocapture
	$(CARGO) run --quiet --locked --release -p pagestone-tests --bin crash -- --states $(STATES) $(if $(SEED),--seed $(SEED))

crash-long: ## the same with a million crash images
	@$(MAKE) --no-print-directory crash STATES=1000000

oracle: ## compare the whole store with a simple model: crashes, power loss, faults, full regions, threads (STEPS=2000000, SEED=n)
	$(CARGO) run --quiet --locked --release -p pagestone-tests --bin oracle -- --steps $(STEPS) $(if $(SEED),--seed $(SEED))

kill: ## SIGKILL at random moments under SQLite (ROUNDS=200, SEED=n)
	$(CARGO) run --quiet --locked --release -p pagestone-kill -- --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

faults: ## failing disks, files, limits, signals and clocks: every operation of every sweep (all of it only as root)
	$(CARGO) test --locked --release -p pagestone-tests --test faults -- --long

fuzz: ## hostile images, logs and C calls: each target for SECONDS=60 (TARGETS="..."; nightly Rust and cargo-fuzz)
	@sh fuzz/run.sh $(SECONDS)

asan: ## the C tests and the Rust tests with AddressSanitizer (nightly Rust)
	@sh tests/sanitizers/run.sh asan

miri: ## real threads under Miri, on the frame table and on a store in heap memory (nightly Rust, miri, rust-src; MIRI_SEEDS=4)
	@sh tests/sanitizers/run.sh miri

tsan: ## the Rust tests with ThreadSanitizer (nightly Rust, rust-src)
	@sh tests/sanitizers/run.sh tsan

valgrind: ## the C tests under valgrind
	@sh tests/sanitizers/run.sh valgrind

bench-compare: ## compare Pagestone with other engines: writes benches/README.md and its plots (PLACE=folder, PAGES=1048576; 20 GiB of memory, 30 of disk)
	PMEM2_FORCE_GRANULARITY=CACHE_LINE $(CARGO) run --quiet --locked --release --manifest-path $(COMPARE) --target-dir $(PGS_TARGET)/compare -- "$(PLACE)" benches $(PAGES)

bench-hit: ## the cost of a pin, of a plain read of a random page, and of the steps that make up a pin
	$(CARGO) run --quiet --locked --release -p pagestone-benches --bin hit
	$(CARGO) run --quiet --locked --release -p pagestone-benches --features internals --bin touch

bench-laws: ## costs that must not grow with unrelated sizes: tails, batches, freeing, cuts, syncs, pins by address (PLACE=folder)
	$(CARGO) run --quiet --locked --release -p pagestone-benches --bin laws -- $(PLACE)

bench-redb: ## redb on Pagestone and on its own file backend: commits, reads, scans (PLACE=folder)
	$(CARGO) run --quiet --locked --release -p pagestone-benches --bin redb -- $(PLACE)

bench-sqlite: vfs ## SQLite commits on its own VFS and on Pagestone's, and speedtest1 (DISK=folder, SPEEDTEST1=program)
	$(CARGO) run --quiet --locked --release -p pagestone-benches --bin sqlite -- "$(DISK)" "$(SPEEDTEST1)" "$(abspath $(PGS_OUT)/pagestone_vfs.so)"

bench-tantivy: ## a tantivy index on Pagestone and on mapped files, and the bytes that were not copied (DOCUMENTS=100000)
	$(CARGO) run --quiet --locked --release -p pagestone-benches --bin tantivy -- $(DOCUMENTS)

test-sqlite: ## SQLite's own tests on the VFS; failures must match the list tests/suites/sqlite/expected (PARTS="veryquick mmap crash threads programs", STOCK=1, ONLY=scripts; fetches its sources)
	@PARTS="$(PARTS)" STOCK="$(STOCK)" ONLY="$(ONLY)" sh tests/suites/sqlite/suite.sh

test-redb: ## redb's own tests, with every database in a region; failures must match the list tests/suites/redb/expected
	@CARGO="$(CARGO)" sh tests/suites/redb/suite.sh

test-dax: ## a virtual machine with persistent memory: MAP_SYNC, devdax, the test suites, power cuts (CUTS=20, SEED=n, ONLY=part of a name; apt and 500 MB)
	@$(CARGO) run --quiet --locked --release -p pagestone-dax -- run --cuts $(CUTS) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)")

test-bare: ## README's two commands on a Debian with only stable Rust, gcc and make (root, debootstrap, 12 GB, half an hour)
	@sh tests/bare/run.sh

breaks-dax: ## as `breaks`, for promises that only the virtual machine can test: a case or the check of the power cuts must notice (ONLY=words)
	@sh tests/breaks/run.sh breaks-dax

install: install-cli

install-cli: ## the program pagestone and its man page (DESTDIR, prefix)
	$(CARGO) build --locked --release -p pagestone-cli
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(mandir)/man1
	install -m 755 $(PGS_TARGET)/release/pagestone $(DESTDIR)$(prefix)/bin
	install -m 644 engine/cli/man/pagestone.1 $(DESTDIR)$(mandir)/man1

uninstall: uninstall-cli

uninstall-cli:
	rm -f $(DESTDIR)$(prefix)/bin/pagestone $(DESTDIR)$(mandir)/man1/pagestone.1

.PHONY: uninstall-cli api msrv package test-bare
api: ## update the snapshot of the Rust interface (tests/tidy/public-api), after an intended change
	PAGESTONE_BLESS=1 $(CARGO) test --locked --quiet -p pagestone-tests --test tidy the_public_interface

msrv: ## build the published crates with the oldest supported Rust (rustup fetches it)
	@$(call need,rustup,https://rustup.rs)
	rustup toolchain install $(MSRV) --profile minimal --no-self-update
	rustup run $(MSRV) cargo check --locked --target-dir $(PGS_TARGET)/msrv -p pagestone -p pagestone-ffi
	rustup run $(MSRV) cargo test --locked --target-dir $(PGS_TARGET)/msrv -p pagestone --lib frame::

package: ## build the crate pagestone from its package, as the registry would get it
	$(CARGO) package --locked --target-dir $(PGS_TARGET)/package -p pagestone $(if $(DIRTY),--allow-dirty)

doc: ## API documentation
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps -p pagestone

clean: ## remove everything that was built
	$(CARGO) clean

include bindings-c/pagestone.mk
