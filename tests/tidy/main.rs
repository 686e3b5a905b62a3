//! The rules of this repository, checked. Each rule has a self-test that shows it failing.

mod api;
mod atomics;
mod durability;
mod environment;
mod front_door;
mod imports;
mod lexer;
mod locks;
mod oldest;
mod openings;
mod references;
mod tables;
mod tree;
mod unsafety;
mod wording;

use tree::Tree;

/// Fails with all problems at once, so that they can be mended together.
fn hold(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n  {}\n", problems.join("\n  "));
}

#[test]
fn imports_run_one_way() {
    hold(imports::problems(&Tree::of_project()));
}

#[test]
fn internals_are_for_tests() {
    let tree = Tree::of_project();
    hold([imports::internals(&tree), api::hidden(&tree)].concat());
}

#[test]
fn unsafe_code_stays_in_its_modules_and_says_why() {
    hold(unsafety::problems(&Tree::of_project()));
}

#[test]
fn the_public_interface_is_that_of_the_snapshot() {
    hold(api::problems(&Tree::of_project()));
}

#[test]
fn atomic_orderings_say_why() {
    hold(atomics::problems(&Tree::of_project()));
}

#[test]
fn only_persist_flushes_and_fences() {
    hold(durability::problems(&Tree::of_project()));
}

#[test]
fn the_environment_is_asked_in_one_way() {
    hold(environment::problems(&Tree::of_project()));
}

#[test]
fn files_are_opened_through_one_door() {
    hold(openings::problems(&Tree::of_project()));
}

#[test]
fn nothing_is_newer_than_the_oldest_rust_promised() {
    hold(oldest::problems(&Tree::of_project()));
}

#[test]
fn files_are_short_finished_and_portable() {
    hold(front_door::files(&Tree::of_project()));
}

#[test]
fn the_top_level_holds_what_was_agreed() {
    hold(front_door::top_level(&Tree::of_project()));
}

#[test]
fn every_command_in_a_document_exists_and_every_verb_is_explained() {
    hold(front_door::commands(&Tree::of_project()));
}

#[test]
fn what_is_skipped_is_counted() {
    hold(front_door::skips(&Tree::of_project()));
}

#[test]
fn the_readme_quotes_programs_that_are_tested() {
    hold(front_door::quotations(&Tree::of_project()));
}

#[test]
fn a_reference_to_a_rule_of_the_log_leads_to_it() {
    hold(references::rules(&Tree::of_project()));
}

#[test]
fn every_document_that_is_named_is_there() {
    hold(references::documents(&Tree::of_project()));
}

#[test]
fn a_row_of_a_table_breaks_something_and_names_a_test() {
    hold(tables::problems(&Tree::of_project()));
}

#[test]
fn comments_speak_of_threads_and_callers_as_things() {
    hold(wording::problems(&Tree::of_project()));
}

#[test]
fn the_lock_files_of_other_workspaces_are_true() {
    hold(locks::problems(&Tree::of_project()));
}
