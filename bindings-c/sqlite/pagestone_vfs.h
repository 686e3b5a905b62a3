/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * SQLite's VFS "pagestone": databases in Pagestone regions.
 *
 * In a program that links SQLite, link libpagestone_vfs.a (or the sources, compiled with -DSQLITE_CORE). Then call
 * pagestone_vfs_register() after sqlite3_initialize(), or compile sqlite3.c with
 * -DSQLITE_EXTRA_INIT=pagestone_vfs_init, so that SQLite calls it. As a loadable extension (pagestone_vfs.so), load it
 * once by any connection; it stays loaded.
 *
 * The environment can make it the default VFS, too: PGS_VFS_DEFAULT=1.
 */
#ifndef PAGESTONE_VFS_H
#define PAGESTONE_VFS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Registers the VFS "pagestone". Another call is harmless. Files that are not databases, journals or WALs go to the VFS
 * that was the default at the first call. Returns SQLite's result code. */
int pagestone_vfs_register(int make_default);

/* For SQLITE_EXTRA_INIT, which passes NULL: registers the VFS, not as the default, or as the default. */
int pagestone_vfs_init(const char *unused);
int pagestone_vfs_init_default(const char *unused);

#ifdef __cplusplus
}
#endif
#endif
