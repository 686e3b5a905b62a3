/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * SQLite's VFS "pagestone": databases that live in Pagestone regions.
 *
 * Linked statically into a program (compiled with -DSQLITE_CORE): call pagestone_vfs_register() after
 * sqlite3_initialize(). As a loadable extension (pagestone_vfs.so): load it once by any connection; it stays.
 */
#ifndef PAGESTONE_VFS_H
#define PAGESTONE_VFS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Registers the VFS "pagestone"; again is harmless. What is not a database, its journal or its WAL goes to the VFS that
 * was the default at the first call. Returns SQLite's result code. */
int pagestone_vfs_register(int make_default);

#ifdef __cplusplus
}
#endif
#endif
