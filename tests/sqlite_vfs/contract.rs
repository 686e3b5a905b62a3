//! The contract of single calls of the VFS. The tests themselves are in C.

use pagestone_tests::sqlite;

macro_rules! contract {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let directory = tempfile::tempdir().expect("a directory");
            if let Err(failure) = sqlite::contract(stringify!($name), directory.path()) {
                panic!("{failure}");
            }
        })*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

contract! {
    short_read_is_zero_filled
    gap_reads_as_zeros
    bytes_cut_off_never_come_back
    fetch_follows_limit_and_end
    bytes_behind_a_fetched_page_are_readable
    pinned_frame_stays_writable
    truncate_leaves_no_stale_page
    controls_are_answered
    question_whether_a_file_has_moved_begins_no_transaction
    locks_of_three_connections
    wal_index_is_shared_zeroed_and_still
    wal_index_locks_are_all_or_none
    wal_grows_ahead_in_zeros
    journal_comes_and_goes
    journal_is_found_by_path_alone
    journal_is_found_by_path_alone_where_copy_on_write_was_allowed
    region_that_cannot_be_opened_is_not_absent
    others_belong_to_the_default_vfs
    open_follows_its_flags
    file_without_write_permission_opens_read_only
    reader_is_refused_for_no_durability
    unlinked_database_keeps_its_journal
    name_of_a_journal_leads_to_the_database_that_is_at_the_path
    database_is_known_by_device_and_inode
    region_without_its_head_is_not_absent
    question_about_a_journal_makes_no_region
    foreign_file_is_refused_and_unharmed
    foreign_file_passes_when_told
    wishes_are_met_or_refused
    parameter_with_nothing_behind_it_is_refused_by_name
    fork_while_a_region_opens_leaves_the_child_able
    access_takes_no_memory_of_sqlite
    batch_shows_all_or_nothing
    sync_behind_a_batch_costs_nothing
    batch_that_fails_asks_for_a_journal
    journal_of_a_failed_batch_is_durable_first
    link_is_made_under_a_name_that_is_known_to_no_other
    link_replaces_nothing_that_came_while_it_was_waited_for
    empty_file_that_another_connection_has_locked_is_not_taken
    ordinary_database_that_is_called_a_region_is_refused_and_unharmed
    link_in_a_folder_that_cannot_be_read_is_durable_or_not_there
    rights_are_those_of_the_effective_user
    controls_of_a_file_that_waits_are_answered
    foreign_files_that_are_closed_hold_nothing
    names_that_are_misspelt_are_refused_by_name
    folder_that_cannot_be_written_is_what_is_told
    rights_that_are_missing_are_told
}

#[test]
fn every_contract_test_is_run() {
    assert_eq!(sqlite::contract_names(), NAMES);
}
