# The second and third clients in SQLite's tests with several clients. There each is a process. A region has one owner process, so
# here each client is an interpreter of this process, with connections of its own. What needs a process is refused: two clients that
# wait for each other, and one that ends or crashes.

if {[info commands client_launch] eq ""} {
  rename launch_testfixture client_launch
  rename close client_close
}

proc client_refuse {script} { error "this needs a second process: $script" }

proc launch_testfixture {{program ""}} {
  if {$program ne ""} { return [client_launch $program] }
  set client [interp create]
  load_testfixture_extensions $client
  return $client
}

proc testfixture {client script args} {
  if {![interp exists $client] || [llength $args] || [regexp {sqlite3_shutdown|sqlite_abort|\mexit\M} $script]} { client_refuse $script }
  set failed [catch {interp eval $client $script} answer]
  if {$failed} { error $answer }
  return $answer
}

proc testfixture_nb {variable script} { client_refuse $script }

proc close {channel args} {
  if {[interp exists $channel]} { return [interp delete $channel] }
  uplevel 1 [list client_close $channel {*}$args]
}
