# The names of a permutation's scripts: testfixture scripts.tcl SOURCE PERMUTATION
lassign $argv source permutation
set argv {}
set argv0 $source/test/scripts.tcl
source $source/test/permutations.test
array set options $::testspec($permutation)
foreach file [lsort -unique $options(-files)] { puts "script [file tail $file]" }
exit 0
