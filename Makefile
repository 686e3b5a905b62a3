# The verbs of Pagestone: people, CI and documents use the same ones. `make help` lists them.
CARGO ?= cargo
NIGHTLY ?= cargo +nightly
ROUNDS ?= 200
prefix ?= /usr/local
libdir ?= $(prefix)/lib
TARGET := $(or $(CARGO_TARGET_DIR),target)
have = command -v $(1) >/dev/null || { echo "make $@: needs $(1), which is not installed: $(2)"; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help demo test lint tidy kill bench-hit doc clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the main job on real data, killed with SIGKILL and proven whole (DB=file.sqlite: on a copy of yours)
	@$(CARGO) run --quiet --locked --release -p pagestone-cli -- demo $(if $(DB),--db "$(DB)")

test: ## everything that CI runs: stable Rust, offline after `cargo fetch`
	$(CARGO) test --locked --workspace

lint: tidy ## formatting, clippy, house rules, and cargo-deny where it is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny --workspace check; else echo "lint: cargo-deny is not installed, licences and advisories were not checked"; fi

tidy: ## the house rules alone: imports, unsafe, comments, file lengths
	$(CARGO) test --locked -p pagestone-tests --test tidy

kill: ## SIGKILL at random moments under SQLite, ROUNDS=200
	$(CARGO) run --locked --release -p pagestone-kill -- --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

bench-hit: ## the cost of a pin against a bare read of a random page
	$(CARGO) run --locked --release -p pagestone-benches --bin hit

doc: ## API documentation
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps -p pagestone

clean: ## remove what was built
	$(CARGO) clean

include bindings-c/pagestone.mk
