# Compares the logs of a part's scripts with the list of explained failures.
#   awk -v part=PART -v whole=whole -v logs=FOLDER -f judge.awk EXPECTED SCRIPTS
# Last line: "@@ cases errors clean explained failures".
BEGIN { FS = "\t" }

function mentioned(parts, words, i) {
    split(parts, words, " ")
    for (i in words) if (words[i] == part) return 1
    return 0
}

function read_log(script, line, words) {
    errors = cases = locked_out = 0
    status = ended = names = ""
    while ((getline line < (logs "/" script)) > 0) {
        if (line ~ / errors out of [0-9]+ tests/) {
            split(line, words, " ")
            errors = words[1]
            cases = words[5]
            ended = 1
        }
        if (line ~ /^!Failures on these tests: /) names = substr(line, 26)
        # Such a script takes a process that could not open the database for one that crashed as it should.
        if (line ~ /testfixture: database is locked$/) locked_out++
        if (line ~ /^@@status /) status = substr(line, 10)
    }
    close(logs "/" script)
}

# The first failures, for the reader.
function reason() {
    if (status == "") return "it was not run"
    if (!ended) return status == 124 || status == 137 ? "it did not end in time" : "it ended early, with status " status
    if (errors == 0 && locked_out) return locked_out " processes could not open the database"
    if (errors == 0) return "it ended with status " status
    return errors " of " cases " cases:" (length(names) > 200 ? substr(names, 1, 200) "..." : names)
}

FILENAME == ARGV[1] {
    if ($0 !~ /^#/ && mentioned($2)) cause[$1] = $3
    next
}

{
    read_log($1)
    seen[$1] = 1
    all_cases += cases
    all_errors += errors
    if (status == "0" && ended && errors == 0 && !locked_out) {
        clean++
        if ($1 in cause) {
            print "FAILED: " part " " $1 " is clean, and on the list of those that cannot be (" cause[$1] ")"
            failures++
        }
    } else if ($1 in cause) {
        explained++
    } else {
        print "FAILED: " part " " $1 ": " reason()
        failures++
    }
}

END {
    for (script in cause) {
        if (script in seen) by_cause[cause[script]]++
        else if (whole == "whole") {
            print "FAILED: " part " " script " is on the list, and there is no such script"
            failures++
        }
    }
    for (why in by_cause) printf "%7d %s\n", by_cause[why], why
    print "@@", all_cases + 0, all_errors + 0, clean + 0, explained + 0, failures + 0
}
