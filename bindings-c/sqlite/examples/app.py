# SPDX-License-Identifier: MIT OR Apache-2.0
"""An SQLite database in a Pagestone region: python3 app.py pagestone_vfs.so app.pgs"""

import ctypes
import sqlite3
import sys

extension, path = sys.argv[1:]

loader = sqlite3.connect(":memory:")
if hasattr(loader, "enable_load_extension"):
    loader.enable_load_extension(True)
    loader.load_extension(extension)
else:
    # This Python was built without extension loading. Its SQLite supports it, for connections opened from here on.
    entry = ctypes.CDLL(extension).sqlite3_pagestonevfs_auto_init
    ctypes.CDLL("libsqlite3.so.0").sqlite3_auto_extension(entry)
    loader = sqlite3.connect(":memory:")

try:
    db = sqlite3.connect(f"file:{path}?vfs=pagestone", uri=True)
except sqlite3.Error as error:
    sys.exit(f"{error}: {loader.execute('SELECT pagestone_error()').fetchone()[0]}")

with db:
    db.execute("CREATE TABLE IF NOT EXISTS visits(at TEXT)")
    db.execute("INSERT INTO visits VALUES(datetime())")
print(db.execute("SELECT count(*) FROM visits").fetchone()[0], "visits")
