# The C library. The top Makefile includes this file; alone: `make -f bindings-c/pagestone.mk lib` from the root.
CARGO ?= cargo
prefix ?= /usr/local
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
PGS_VERSION := 0.1.0
# The number of the ABI. `make abi` says when it must be raised.
PGS_SONAME := libpagestone.so.0
PGS_TARGET := $(or $(CARGO_TARGET_DIR),target)
# The cargo profile; `dev` is for tests.
PGS_PROFILE ?= release
PGS_BUILT := $(PGS_TARGET)/$(if $(filter dev,$(PGS_PROFILE)),debug,$(PGS_PROFILE))
PGS_OUT := $(PGS_BUILT)/c
PGS_SHARED := $(PGS_OUT)/libpagestone.so.$(PGS_VERSION)
# The system libraries that the Rust standard library needs (`cargo rustc -p pagestone-ffi -- --print native-static-libs`),
# except those that every C compiler adds itself: it knows whether the program is fully static and must not have -lgcc_s.
PGS_SYSTEM := -lutil -lrt -lpthread -lm -ldl
PGS_CMAKE := $(libdir)/cmake/pagestone
# The installed files locate each other relative to their own place, so that a prefix may be moved or staged.
PGS_FILL = -e 's|@prefix@|$(prefix)|g' -e 's|@libdir@|$(patsubst $(prefix)/%,$${prefix}/%,$(libdir))|g' \
	-e 's|@includedir@|$(patsubst $(prefix)/%,$${prefix}/%,$(includedir))|g' -e 's|@version@|$(PGS_VERSION)|g' \
	-e 's|@soname@|$(PGS_SONAME)|g' -e 's|@system@|$(PGS_SYSTEM)|g' \
	-e 's|@relative_libdir@|$(shell realpath -m -s --relative-to=$(PGS_CMAKE) $(libdir))|g' \
	-e 's|@relative_includedir@|$(shell realpath -m -s --relative-to=$(PGS_CMAKE) $(includedir))|g'

# SQLite's headers: those of the crate that bundles it, if cargo has fetched it; otherwise the system's.
CRATES := $(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src
SQLITE_INCLUDE ?= $(lastword $(sort $(wildcard $(CRATES)/*/libsqlite3-sys-*/sqlite3)))
PGS_VFS := $(PGS_OUT)/pagestone_vfs.so
PGS_VFS_ARCHIVE := $(PGS_OUT)/libpagestone_vfs.a
PGS_VFS_MAKE = $(MAKE) -f bindings-c/sqlite/Makefile extension archive OUT=$(PGS_VFS) ARCHIVE=$(PGS_VFS_ARCHIVE) \
	LIBPAGESTONE=$(PGS_OUT)/libpagestone.a SQLITE_INCLUDE=$(SQLITE_INCLUDE)

.PHONY: lib vfs header abi c-test c-valgrind c-asan install install-c install-vfs uninstall uninstall-c uninstall-vfs pagestone-ffi

lib: $(PGS_SHARED) ## the C library, static and shared

# Always run: cargo decides whether there is anything to build.
pagestone-ffi:
	$(CARGO) build --locked --profile $(PGS_PROFILE) -p pagestone-ffi

$(PGS_BUILT)/libpagestone_ffi.a: pagestone-ffi ;

$(PGS_OUT)/libpagestone.a: $(PGS_BUILT)/libpagestone_ffi.a
	@mkdir -p $(PGS_OUT)
	cp $< $@

$(PGS_SHARED): $(PGS_OUT)/libpagestone.a ffi/pagestone.map bindings-c/pagestone.mk
	$(CC) -shared -o $@ -Wl,-soname,$(PGS_SONAME) -Wl,--version-script=ffi/pagestone.map -Wl,--whole-archive \
		$(PGS_OUT)/libpagestone.a -Wl,--no-whole-archive -Wl,--gc-sections -Wl,-z,defs -Wl,-z,nodelete $(LDFLAGS) $(PGS_SYSTEM)

vfs: lib ## SQLite's loadable extension pagestone_vfs.so, and libpagestone_vfs.a for programs that link SQLite statically
	$(PGS_VFS_MAKE)
	@echo "the extension is $(abspath $(PGS_VFS)), the archive $(abspath $(PGS_VFS_ARCHIVE))"

header: ## write bindings-c/include/pagestone.h from the sources in ffi
	PAGESTONE_BLESS=1 $(CARGO) test --locked --quiet -p pagestone-tests --test c_abi header_is_made_of

abi: ## update the snapshot of the C ABI after an addition (BREAK=1: after a break, with a new soname)
	PAGESTONE_BLESS=$(if $(BREAK),break,1) $(CARGO) test --locked --quiet -p pagestone-tests --test c_abi abi::the_abi_is

c-test: ## the C tests alone
	$(CARGO) test --locked -p pagestone-tests --test c_abi

c-valgrind: ## the C tests under valgrind
	$(CARGO) test --locked -p pagestone-tests --test c_abi -- --ignored --nocapture valgrind

c-asan: ## the C tests with AddressSanitizer
	$(CARGO) test --locked -p pagestone-tests --test c_abi -- --ignored --nocapture sanitizer

install: install-c install-vfs ## header, C library, SQLite extension, pkg-config, CMake and man pages (DESTDIR, prefix, libdir, includedir, mandir)

install-c: lib
	install -d $(DESTDIR)$(includedir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(PGS_CMAKE) $(DESTDIR)$(mandir)/man3 $(DESTDIR)$(mandir)/man7
	install -m 644 bindings-c/include/pagestone.h $(DESTDIR)$(includedir)
	install -m 644 $(PGS_OUT)/libpagestone.a $(DESTDIR)$(libdir)
	install -m 755 $(PGS_SHARED) $(DESTDIR)$(libdir)
	ln -sf libpagestone.so.$(PGS_VERSION) $(DESTDIR)$(libdir)/$(PGS_SONAME)
	ln -sf $(PGS_SONAME) $(DESTDIR)$(libdir)/libpagestone.so
	sed $(PGS_FILL) bindings-c/pagestone.pc.in > $(DESTDIR)$(libdir)/pkgconfig/pagestone.pc
	sed $(PGS_FILL) bindings-c/cmake/pagestone-config.cmake.in > $(DESTDIR)$(PGS_CMAKE)/pagestone-config.cmake
	sed $(PGS_FILL) bindings-c/cmake/pagestone-config-version.cmake.in > $(DESTDIR)$(PGS_CMAKE)/pagestone-config-version.cmake
	install -m 644 bindings-c/man/*.3 $(DESTDIR)$(mandir)/man3
	install -m 644 bindings-c/man/*.7 $(DESTDIR)$(mandir)/man7

# Installed with the libraries, where SQLite finds it by name: `.load pagestone_vfs`.
install-vfs: lib
	@if echo '#include <sqlite3ext.h>' | $(CC) $(if $(SQLITE_INCLUDE),-I$(SQLITE_INCLUDE)) -E - >/dev/null 2>&1; then \
		$(PGS_VFS_MAKE) && \
		install -d $(DESTDIR)$(includedir) $(DESTDIR)$(libdir) && \
		install -m 644 bindings-c/sqlite/pagestone_vfs.h $(DESTDIR)$(includedir) && \
		install -m 644 $(PGS_VFS_ARCHIVE) $(DESTDIR)$(libdir) && \
		install -m 755 $(PGS_VFS) $(DESTDIR)$(libdir) && \
		echo "SQLite's extension is $(libdir)/pagestone_vfs.so"; \
	else \
		echo "SQLite's extension was NOT installed: SQLite's headers were not found (run cargo fetch --locked, or set SQLITE_INCLUDE=folder)"; \
	fi

uninstall: uninstall-c uninstall-vfs ## remove what `make install` installed (with the same DESTDIR and folders)

uninstall-c:
	rm -f $(DESTDIR)$(includedir)/pagestone.h $(addprefix $(DESTDIR)$(libdir)/,libpagestone.a libpagestone.so $(PGS_SONAME) \
		libpagestone.so.$(PGS_VERSION) pkgconfig/pagestone.pc) $(addprefix $(DESTDIR)$(PGS_CMAKE)/,pagestone-config.cmake pagestone-config-version.cmake)
	rm -f $(foreach section,3 7,$(addprefix $(DESTDIR)$(mandir)/man$(section)/,$(notdir $(wildcard bindings-c/man/*.$(section)))))
	[ ! -d $(DESTDIR)$(PGS_CMAKE) ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$(PGS_CMAKE)

uninstall-vfs:
	rm -f $(DESTDIR)$(includedir)/pagestone_vfs.h $(addprefix $(DESTDIR)$(libdir)/,libpagestone_vfs.a pagestone_vfs.so)
