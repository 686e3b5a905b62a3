//! Cases: each is a process in the guest, and passes if the process succeeds. A failure is a panic.

mod common;
mod device;
mod directory;
mod weaker;

use std::path::Path;

/// Where a case runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A directory of a file system that is mounted with DAX.
    Directory,
    /// A devdax device, zeroed before each case.
    Device,
    /// A directory on memory of the host that cannot promise MAP_SYNC.
    Virtio,
    /// As `Directory`, where the caches survive a power loss.
    CpuCache,
    /// A directory of a file system on persistent memory that is mounted without DAX.
    PageCache,
}

type Case = (&'static str, &'static [Place], fn(&Path));

const MAPPED: &[Place] = &[Place::Directory, Place::Device];

/// Every case, where it runs, and what it is.
pub const CASES: &[Case] = &[
    ("synchronous-mappings-are-in-force", MAPPED, common::synchronous_mappings_are_in_force),
    ("two-mebibytes-are-one-fault", MAPPED, common::two_mebibytes_are_one_fault),
    ("other-disks-read-and-write-pages-directly", MAPPED, common::other_disks_read_and_write_pages_directly),
    ("a-full-medium-is-an-error-and-no-signal", MAPPED, common::a_full_medium_is_an_error_and_no_signal),
    (
        "a-killed-owner-loses-nothing-that-returned",
        MAPPED,
        common::a_killed_owner_loses_nothing_that_returned,
    ),
    (
        "looking-at-an-unclean-region-changes-nothing",
        MAPPED,
        common::looking_at_an_unclean_region_changes_nothing,
    ),
    ("grown-bytes-are-written-blocks", &[Place::Directory], directory::grown_bytes_are_written_blocks),
    ("a-full-disk-is-full-at-allocation", &[Place::Directory], directory::a_full_disk_is_full_at_allocation),
    ("a-weaker-class-can-be-assumed", &[Place::Directory], directory::a_weaker_class_can_be_assumed),
    ("a-device-is-as-large-as-it-says", &[Place::Device], device::a_device_is_as_large_as_it_says),
    (
        "a-device-that-holds-something-is-refused",
        &[Place::Device],
        device::a_device_that_holds_something_is_refused,
    ),
    ("one-owner-whatever-the-name", &[Place::Device], device::one_owner_whatever_the_name),
    ("of-many-that-race-one-wins", &[Place::Device], device::of_many_that_race_one_wins),
    (
        "without-the-promise-syncs-go-through-the-kernel",
        &[Place::Virtio],
        weaker::syncs_go_through_the_kernel,
    ),
    ("caches-that-survive-are-not-flushed", &[Place::CpuCache], weaker::caches_that_survive_are_not_flushed),
    (
        "memory-behind-a-page-cache-is-a-disk",
        &[Place::PageCache],
        weaker::memory_behind_a_page_cache_is_a_disk,
    ),
];

/// Runs a case.
pub fn run(name: &str, place: &Path) -> Result<(), String> {
    let case = CASES.iter().find(|case| case.0 == name).ok_or(format!("no case is named {name}"))?;
    case.2(place);
    Ok(())
}

/// Runs a part of a case in its own process.
pub fn part(name: &str, region: &Path) -> Result<(), String> {
    match name {
        "owner" => common::own_until_killed(region),
        "racer" => device::race(region),
        "zero" => device::zero(region),
        _ => return Err(format!("no part is named {name}")),
    }
    Ok(())
}
