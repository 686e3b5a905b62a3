# Which VFS is the default, and whether a commit on it was a batch.
sqlite3 db probe.db
db eval {CREATE TABLE t(x)}
db eval {INSERT INTO t VALUES(1)}
puts "vfs [file_control_vfsname db]"
puts "stats [db eval {PRAGMA pagestone_stats}]"
db close
exit 0
