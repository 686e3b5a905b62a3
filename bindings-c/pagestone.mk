# The C library: included by the top Makefile, or alone: `make -f bindings-c/pagestone.mk lib` from the root.
CARGO ?= cargo
prefix ?= /usr/local
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
PGS_VERSION := 0.1.0
PGS_SONAME := libpagestone.so.0
PGS_TARGET := $(or $(CARGO_TARGET_DIR),target)
# A cargo profile; `dev` is for tests.
PGS_PROFILE ?= release
PGS_BUILT := $(PGS_TARGET)/$(if $(filter dev,$(PGS_PROFILE)),debug,$(PGS_PROFILE))
PGS_OUT := $(PGS_BUILT)/c
# What the Rust standard library needs of the system (`cargo rustc -p pagestone-ffi -- --print native-static-libs`).
PGS_SYSTEM := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
PGS_FILL := -e 's|@prefix@|$(prefix)|g' -e 's|@libdir@|$(libdir)|g' -e 's|@includedir@|$(includedir)|g' \
	-e 's|@version@|$(PGS_VERSION)|g' -e 's|@system@|$(PGS_SYSTEM)|g'

.PHONY: lib header c-test c-valgrind c-asan install install-c

lib: ## the C library, static and shared
	$(CARGO) build --locked --profile $(PGS_PROFILE) -p pagestone-ffi
	mkdir -p $(PGS_OUT)
	cp $(PGS_BUILT)/libpagestone_ffi.a $(PGS_OUT)/libpagestone.a
	$(CC) -shared -o $(PGS_OUT)/libpagestone.so.$(PGS_VERSION) -Wl,-soname,$(PGS_SONAME) -Wl,--version-script=ffi/pagestone.map \
		-Wl,--whole-archive $(PGS_OUT)/libpagestone.a -Wl,--no-whole-archive -Wl,--gc-sections -Wl,-z,defs -Wl,-z,nodelete $(PGS_SYSTEM)

header: ## bindings-c/include/pagestone.h from the sources in ffi
	PAGESTONE_BLESS=1 $(CARGO) test --locked --quiet -p pagestone-tests --test c_abi header_is_made_of

c-test: ## the C tests alone
	$(CARGO) test --locked -p pagestone-tests --test c_abi

c-valgrind: ## the C tests under valgrind
	$(CARGO) test --locked -p pagestone-tests --test c_abi -- --ignored --nocapture valgrind

c-asan: ## the C tests with AddressSanitizer
	$(CARGO) test --locked -p pagestone-tests --test c_abi -- --ignored --nocapture sanitizer

install: install-c ## header, C library, pkg-config, CMake and man pages (DESTDIR, prefix)

install-c: lib
	install -d $(DESTDIR)$(includedir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(libdir)/cmake/pagestone $(DESTDIR)$(mandir)/man3 $(DESTDIR)$(mandir)/man7
	install -m 644 bindings-c/include/pagestone.h $(DESTDIR)$(includedir)
	install -m 644 $(PGS_OUT)/libpagestone.a $(DESTDIR)$(libdir)
	install -m 755 $(PGS_OUT)/libpagestone.so.$(PGS_VERSION) $(DESTDIR)$(libdir)
	ln -sf libpagestone.so.$(PGS_VERSION) $(DESTDIR)$(libdir)/$(PGS_SONAME)
	ln -sf $(PGS_SONAME) $(DESTDIR)$(libdir)/libpagestone.so
	sed $(PGS_FILL) bindings-c/pagestone.pc.in > $(DESTDIR)$(libdir)/pkgconfig/pagestone.pc
	sed $(PGS_FILL) bindings-c/cmake/pagestone-config.cmake.in > $(DESTDIR)$(libdir)/cmake/pagestone/pagestone-config.cmake
	sed $(PGS_FILL) bindings-c/cmake/pagestone-config-version.cmake.in > $(DESTDIR)$(libdir)/cmake/pagestone/pagestone-config-version.cmake
	install -m 644 bindings-c/man/*.3 $(DESTDIR)$(mandir)/man3
	install -m 644 bindings-c/man/*.7 $(DESTDIR)$(mandir)/man7
