/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * SQLite's VFS "pagestone": databases that live in Pagestone regions.
 *
 * Linked with a program that has its SQLite linked as well (libpagestone_vfs.a, or the sources compiled with
 * -DSQLITE_CORE): call pagestone_vfs_register() after sqlite3_initialize(); or compile sqlite3.c with
 * -DSQLITE_EXTRA_INIT=pagestone_vfs_init, and SQLite does. As a loadable extension (pagestone_vfs.so): load it once by
 * any connection; it stays.
 *
 * The environment can make it the default VFS as well: PGS_VFS_DEFAULT=1.
 */
#ifndef PAGESTONE_VFS_H
#define PAGESTONE_VFS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Registers the VFS "pagestone"; again is harmless. What is not a database, its journal or its WAL goes to the VFS that
 * was the default at the first call. Returns SQLite's result code. */
int pagestone_vfs_register(int make_default);

/* For SQLITE_EXTRA_INIT: registers the VFS, not as the default; or as the default. SQLite gives NULL. */
int pagestone_vfs_init(const char *unused);
int pagestone_vfs_init_default(const char *unused);

#ifdef __cplusplus
}
#endif
#endif
