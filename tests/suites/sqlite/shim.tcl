# Redirects Tcl's commands on a database's files to the objects in its region: size and existence, reading and patching of bytes,
# copying, removal. Every call goes through the VFS (shim.c), as a call of SQLite would. A path that belongs to no region is left to
# Tcl. Nothing here knows what a test expects.
#
# A journal or WAL without bytes counts as absent, as it does for SQLite. A WAL is as long as its frames, however far it has grown
# ahead of them. What does not exist is not shown: test.db-shm.

# Asks the VFS one question, on a connection that is closed afterwards.
proc shim {query path args} {
  lassign $args first second
  sqlite_orig shimdb :memory:
  set failed [catch {
    sqlite3_enable_load_extension shimdb 1
    shimdb eval {SELECT load_extension($::env(PGS_TEST_SHIM))}
    shimdb one $query
  } answer]
  shimdb close
  if {$failed} { error "shim: $path: $answer" }
  return $answer
}

# The "x" of a journal or WAL "x-journal", "x-wal"; otherwise the path itself.
proc shim_main {path} {
  regsub -- {-(journal|wal)$} $path {} path
  return $path
}

proc shim_is_region {path} {
  if {![shim_file isfile $path] || [catch {shim_open $path rb} channel]} { return 0 }
  set head [read $channel 8]
  close $channel
  return [expr {$head eq "PAGESTN\x01"}]
}

# Whether a path is that of an object, or could be.
proc shim_ours {path} { shim_is_region [shim_main $path] }

proc shim_size {path} { shim {SELECT shim_size($path)} $path }

# A main database is there if its file is; others are where the VFS says so.
proc shim_exists {path} {
  expr {[shim_main $path] eq $path || [shim_size $path] ne ""}
}

proc shim_read {path offset length} { shim {SELECT shim_read($path, $first, $second)} $path $offset $length }
proc shim_write {path offset bytes} { shim {SELECT shim_write($path, $first, @second)} $path $offset $bytes }

# Makes the file where there is none.
proc shim_empty {path} {
  if {[shim_main $path] eq $path && [shim_file isfile $path] && ![shim_is_region $path]} { shim_file delete -force $path }
  shim {SELECT shim_truncate($path, 0)} $path
  # A test may have put the journal there first.
  foreach suffix {-journal -wal} {
    if {[shim_main $path] ne $path || ![shim_file isfile $path$suffix]} { continue }
    set channel [shim_open $path$suffix rb]
    set bytes [read $channel]
    close $channel
    shim_file delete -force $path$suffix
    shim_write $path$suffix 0 $bytes
  }
}

# ---- file ----

rename file shim_file
proc file {command args} {
  set last [lindex $args end]
  switch -glob -- $command {
    siz* {
      if {[shim_ours $last]} { return [expr {[shim_exists $last] ? [shim_size $last] : 0}] }
    }
    exi* {
      if {[shim_ours $last]} { return [shim_exists $last] }
    }
    co* {
      set paths [shim_operands $args]
      if {[llength $paths] == 2 && [shim_copy {*}$paths]} { return }
    }
    de* {
      foreach path [shim_operands $args] {
        if {[shim_main $path] ne $path && [shim_ours $path]} { shim {SELECT shim_delete($path)} $path }
      }
    }
  }
  uplevel 1 [list shim_file $command {*}$args]
}

proc shim_operands {words} {
  while {[string match -* [lindex $words 0]]} {
    set words [lassign $words word]
    if {$word eq "--"} { break }
  }
  return $words
}

proc shim_save {path bytes} {
  set channel [shim_open $path wb]
  puts -nonewline $channel $bytes
  close $channel
}

# Copies one file that is an object. The result depends on where it goes. 0: the file is no object.
proc shim_copy {from to} {
  if {![shim_ours $from] || ![shim_exists $from] || [shim_file isdirectory $to]} { return 0 }
  set bytes [shim_read $from 0 [shim_size $from]]
  if {[shim_main $to] eq $to || [shim_ours $to]} {
    shim_empty $to
    shim_write $to 0 $bytes
  } else {
    shim_save $to $bytes
  }
  return 1
}

# ---- hexio ----

rename hexio_read shim_hexio_read
proc hexio_read {path offset length} {
  if {![shim_ours $path] || ![shim_exists $path]} { return [shim_hexio_read $path $offset $length] }
  binary scan [shim_read $path $offset $length] H* hex
  return [string toupper $hex]
}

rename hexio_write shim_hexio_write
proc hexio_write {path offset hex} {
  if {![shim_ours $path]} { return [shim_hexio_write $path $offset $hex] }
  set bytes [binary format H* $hex]
  shim_write $path $offset $bytes
  return [string length $bytes]
}

rename md5file shim_md5file
proc md5file {path {offset 0} {length -1}} {
  if {![shim_ours $path]} { return [shim_md5file $path $offset $length] }
  if {$length < 0} { set length [shim_size $path] }
  shim_save shim.bytes [shim_read $path $offset $length]
  set sum [shim_md5file shim.bytes]
  shim_file delete shim.bytes
  return $sum
}

# ---- glob ----

rename glob shim_glob
proc glob {args} {
  set patterns [shim_operands $args]
  set found [uplevel 1 [list shim_glob -nocomplain {*}$args]]
  foreach path [shim_glob -nocomplain *] {
    foreach suffix {-journal -wal} {
      foreach pattern $patterns {
        if {[string match $pattern $path$suffix] && "$path$suffix" ni $found && [shim_ours $path$suffix]
            && [shim_exists $path$suffix]} { lappend found $path$suffix }
      }
    }
  }
  if {$found eq "" && "-nocomplain" ni $args} { error "no files matched glob pattern \"$patterns\"" }
  return $found
}

# ---- open ----

# A file that a test writes from nothing and then opens as a database is a region as well: it has a database's name.
proc shim_new {path access} {
  expr {[string match w* $access] && [string match *.db* [shim_file tail $path]] && [shim_main $path] eq $path
        && [shim_file isdirectory [shim_file dirname $path]]}
}

rename open shim_open
proc open {path args} {
  set access [lindex $args 0]
  if {[string match |* $path] || !([shim_ours $path] || [shim_new $path $access])} {
    return [uplevel 1 [list shim_open $path {*}$args]]
  }
  if {![shim_exists $path] && ($access eq "" || [string match r* $access])} {
    error "couldn't open \"$path\": no such file or directory"
  }
  set modes [expr {$access in {"" r rb RDONLY} ? "read" : "read write"}]
  if {[string match w* $access]} { shim_empty $path }
  set channel [shim_chan create $modes [list shim_channel [shim_file normalize $path]]]
  if {[string match *b* $access]} { fconfigure $channel -translation binary }
  if {[string match a* $access]} { seek $channel 0 end }
  return $channel
}

# Tcl cannot ask a channel made by a script to be cut.
rename chan shim_chan
proc chan {command args} {
  lassign $args channel length
  if {$command ne "truncate" || ![info exists ::shim_path($channel)]} {
    return [uplevel 1 [list shim_chan $command {*}$args]]
  }
  flush $channel
  if {$length eq ""} { set length [tell $channel] }
  set path $::shim_path($channel)
  shim {SELECT shim_truncate($path, $first)} $path $length
}

# A channel over an object: Tcl asks, the VFS answers.
proc shim_channel {path command channel args} {
  upvar #0 shim_at($channel) at
  switch -- $command {
    initialize {
      set at 0
      set ::shim_path($channel) $path
      return {initialize finalize watch read write seek}
    }
    finalize { unset at ::shim_path($channel) }
    watch { }
    read {
      set bytes [shim_read $path $at [lindex $args 0]]
      incr at [string length $bytes]
      return $bytes
    }
    write {
      set bytes [lindex $args 0]
      shim_write $path $at $bytes
      incr at [string length $bytes]
      return [string length $bytes]
    }
    seek {
      lassign $args offset base
      set at [expr {$offset + [dict get [dict create start 0 current $at end [shim_size $path]] $base]}]
      return $at
    }
  }
}
