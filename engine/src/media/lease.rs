//! The lease: which process wrote last, and whether it left in order. It has a frame of its own, which is written by the
//! first change of an opening, by a close, and (best effort) after a failure.
//!
//! It answers one question, LOG rule 9: did the last owner's life end by the death of its *process*, so that the page
//! cache still holds all that it stored, or must a power loss be assumed?
//!
//! ```text
//! 8 state (32 bits)   16 pid      24 start time     32 epoch of the log     40 pid namespace
//! 48 boot (16 bytes)  64 device           72 inode    80 mount          88 inode generation     96 birth of the file
//! 112 mounting of the file system 120 volume of it
//! ```

use crate::error::{Error, Result};
use crate::media::ending::{Ending, Why};
use crate::media::layout::LEASE_OFFSET;
use crate::media::rules::{Rule, Rules};
use crate::media::sector::{Found, Sector};
use crate::region::{Difference, Holder, Identity, Region};
use crate::units::MediumKind;
use std::path::Path;

const MAGIC: &[u8; 8] = b"PGSLEASE";

/// How the last owner left the region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// In order: nothing is in the log.
    Clean,
    /// Not in order: the owner still has the region open, or it died.
    Open,
    /// After a failed flush: what the page cache holds may not be on the medium.
    Failed,
}

/// The lease's fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// How the owner left the region.
    pub state: State,
    /// Where the owner was: this boot of this machine, this file, this mounting of its file system.
    pub identity: Identity,
    /// The owner's process.
    pub pid: u64,
    /// When that process started, in clock ticks after boot. A later process with the same number has another time.
    pub start_time: u64,
    /// The PID namespace in which the process has that number; 0 if it is unknown.
    pub space: u64,
    /// The log's epoch in the owner's life.
    pub epoch: u64,
}

impl Lease {
    /// A lease of this process.
    #[must_use]
    pub fn of(region: &Region, state: State, epoch: u64) -> Self {
        let holder = region.holder();
        Self {
            state,
            identity: region.identity(),
            pid: holder.pid.into(),
            start_time: holder.start_time,
            space: holder.space,
            epoch,
        }
    }

    /// Reads the lease.
    pub fn read(region: &Region) -> Result<Found<Self>> {
        Ok(match Sector::read(region.memory(), LEASE_OFFSET, MAGIC)? {
            Found::Blank => Found::Blank,
            Found::Torn => Found::Torn,
            Found::Whole(s) => Self::decode(&s).map_or(Found::Torn, Found::Whole),
        })
    }

    fn decode(s: &Sector) -> Option<Self> {
        let state = match s.u32(8) {
            1 => State::Clean,
            2 => State::Open,
            3 => State::Failed,
            _ => return None,
        };
        let identity = Identity {
            boot: s.bytes(48),
            device: s.u64(64),
            inode: s.u64(72),
            mount: s.u64(80),
            generation: s.u64(88),
            birth: s.u64(96),
            mounting: s.u64(112),
            volume: s.u64(120),
        };
        let (pid, start_time, space) = (s.u64(16), s.u64(24), s.u64(40));
        Some(Self { state, identity, pid, start_time, space, epoch: s.u64(32) })
    }

    /// Writes the lease.
    ///
    /// # Durability
    /// Durable on return.
    pub fn write(&self, region: &Region) -> Result {
        self.encode().write(region.memory(), LEASE_OFFSET)
    }

    /// Stores the lease.
    ///
    /// # Durability
    /// None: torn, absent or whole if the power fails.
    pub fn store(&self, region: &Region) -> Result {
        self.encode().store(region.memory(), LEASE_OFFSET)
    }

    /// Notes, best effort, that bytes of the last owner or of this one may be lost. The kernel reports an error only
    /// once, and has reported it to this opening. A later opening must learn of it. If the mapping is private, or may
    /// have no blocks to store to yet, the lease is written past it.
    ///
    /// # Durability
    /// Durable on `Ok`.
    pub fn note_failure(region: &Region) -> Result {
        let lease = Self::of(region, State::Failed, 0);
        if region.read_only() || !region.admits_stores() {
            lease.encode().write_past(region.memory(), LEASE_OFFSET)
        } else {
            lease.write(region)
        }
    }

    fn encode(&self) -> Sector {
        let mut s = Sector::new(MAGIC);
        let state = match self.state {
            State::Clean => 1,
            State::Open => 2,
            State::Failed => 3,
        };
        s.put_u32(8, state);
        s.put_u64(16, self.pid);
        s.put_u64(24, self.start_time);
        s.put_u64(32, self.epoch);
        s.put_u64(40, self.space);
        s.put(48, &self.identity.boot);
        s.put_u64(64, self.identity.device);
        s.put_u64(72, self.identity.inode);
        s.put_u64(80, self.identity.mount);
        s.put_u64(88, self.identity.generation);
        s.put_u64(96, self.identity.birth);
        s.put_u64(112, self.identity.mounting);
        s.put_u64(120, self.identity.volume);
        s
    }

    /// The process that has this region open, if it lives or may live: not this process, and not one of another boot or
    /// device. If the lease knows only the owner's number, only the number distinguishes the owner from this process.
    #[must_use]
    pub fn living_owner(found: &Found<Self>, region: &Region) -> Option<Holder> {
        let Found::Whole(lease) = found else { return None };
        let pid = u32::try_from(lease.pid).ok()?;
        let holder = Holder { pid, start_time: lease.start_time, space: lease.space };
        let here = region.identity();
        let open = lease.state != State::Clean
            && lease.identity.device == here.device
            && !here.is_after_a_boot(&lease.identity);
        let is_this = holder == region.holder() && holder.start_time != 0;
        (open && !is_this && holder.may_live()).then_some(holder)
    }

    /// Refuses a device that another process has open. Other media are claimed by locks alone. A lock on a device holds
    /// for one of its names in `/dev`, and there may be several.
    pub fn refuse_living_owner(region: &Region) -> Result {
        if region.kind() != MediumKind::DevDax {
            return Ok(());
        }
        match Self::living_owner(&Self::read(region)?, region) {
            None => Ok(()),
            Some(owner) => {
                let path = region.path().map(Path::to_path_buf).unwrap_or_default();
                Err(Error::InUse { path, by: owner.to_string() })
            }
        }
    }

    /// Whether stores of the last owner may still be in the processor's caches: it did not close, and as far as is known
    /// the power has not failed since.
    #[must_use]
    pub fn left_in_caches(found: &Found<Self>, region: &Region) -> bool {
        matches!(found, Found::Whole(lease)
            if lease.state != State::Clean && !region.identity().is_after_a_boot(&lease.identity))
    }

    /// Whether the last owner died by the death of its process, so that all that it stored is there unless the medium has
    /// refused it since: same boot, same file, same mounting, no failed flush. Otherwise the reason why not.
    fn death(&self, region: &Region, rules: Rules) -> Result<(), Why> {
        if region.assumes_power_loss() {
            return Err(Why::Assumed);
        }
        if self.state == State::Failed && !rules.broken(Rule::IgnoreFailure) {
            return Err(Why::FailedFlush);
        }
        match region.identity().difference(&self.identity) {
            Some(_) if rules.broken(Rule::IgnoreIdentity) => Ok(()),
            None => Ok(()),
            Some(Difference::Boot) => Err(Why::OtherBoot),
            Some(Difference::File) => Err(Why::OtherFile),
            Some(Difference::Mounting) => Err(Why::OtherMounting),
        }
    }

    /// Whether the page cache counts as having what the last owner stored, so that the kernel must be asked whether it
    /// could write it.
    #[must_use]
    pub fn left_in_page_cache(found: &Found<Self>, region: &Region, rules: Rules) -> bool {
        matches!(found, Found::Whole(lease) if lease.state == State::Open && lease.death(region, rules).is_ok())
    }

    /// How the last owner's life ended. `epoch` is the log's; the log may have records or none.
    #[must_use]
    pub fn ending(
        found: &Found<Self>,
        region: &Region,
        epoch: u64,
        records: bool,
        rules: Rules,
    ) -> (Ending, Why) {
        let lease = match found {
            Found::Whole(lease) if lease.state != State::Clean => lease,
            Found::Whole(_) | Found::Blank if !records => return (Ending::Clean, Why::Closed),
            _ if region.assumes_power_loss() => return (Ending::PowerLoss, Why::Assumed),
            _ => return (Ending::PowerLoss, Why::Unreadable),
        };
        let of_this_log = lease.epoch == epoch
            || !records
            || rules.broken(Rule::LeaseFirst)
            || rules.broken(Rule::IgnoreFailure);
        match lease.death(region, rules) {
            Ok(()) if of_this_log => (Ending::ProcessDeath, Why::Kept),
            Ok(()) => (Ending::PowerLoss, Why::Unreadable),
            Err(why) => (Ending::PowerLoss, why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{RegionOptions, Source};
    use std::process::Command;
    use std::sync::Arc;

    fn region() -> Arc<Region> {
        Region::attach(Source::Image(vec![0; 4 * 4096]), &RegionOptions::default()).unwrap()
    }

    /// When a process started, found in another way than the engine's: `ps` counts the same ticks.
    fn start_of(pid: u32) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat[stat.rfind(')').unwrap()..].split(' ').nth(20).unwrap().parse().unwrap()
    }

    #[test]
    fn a_lease_names_an_owner_only_while_it_lives_where_the_region_is() {
        let region = region();
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = sleeper.id();
        let open = Lease { pid: pid.into(), start_time: start_of(pid), ..Lease::of(&region, State::Open, 1) };
        let owner = |lease: &Lease| Lease::living_owner(&Found::Whole(lease.clone()), &region);
        assert_eq!(owner(&open).map(|owner| owner.to_string()), Some(format!("process {pid} (sleep)")));
        assert!(owner(&Lease { state: State::Failed, ..open.clone() }).is_some(), "it was not closed");
        let elsewhere = Identity { device: 99, ..open.identity };
        let before = Identity { boot: [7; 16], ..open.identity };
        for (other, why) in [
            (Lease { state: State::Clean, ..open.clone() }, "it was closed"),
            (Lease { start_time: open.start_time + 1, ..open.clone() }, "another process has its number now"),
            (Lease { identity: elsewhere, ..open.clone() }, "it is a copy of the region"),
            (Lease { identity: before, ..open.clone() }, "the machine was booted since"),
            (Lease::of(&region, State::Open, 1), "it is this process, which holds the lock"),
        ] {
            assert_eq!(owner(&other), None, "{why}");
        }
        assert!(Lease::living_owner(&Found::Blank, &region).is_none());
        // There is always a process with that number.
        let hidden = Lease { space: 0, pid: 1, start_time: 0, ..open.clone() };
        assert!(
            owner(&hidden).is_some_and(|owner| owner.to_string().contains("if that process still lives"))
        );
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(owner(&open), None, "it is dead");
    }

    /// A region opened with this boot in its identity.
    fn region_of(boot: [u8; 16]) -> Arc<Region> {
        let identity = Some(Identity { boot, ..region().identity() });
        let options = RegionOptions { identity, ..Default::default() };
        Region::attach(Source::Image(vec![0; 4 * 4096]), &options).unwrap()
    }

    #[test]
    fn a_boot_that_is_not_told_hides_no_living_owner_and_nothing_in_the_caches() {
        const UNTOLD: [u8; 16] = [0; 16];
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let (pid, start_time) = (sleeper.id().into(), start_of(sleeper.id()));
        let mut leases = Vec::new();
        for (left, here, may_be_one) in [
            (UNTOLD, UNTOLD, true),
            (UNTOLD, [1; 16], true),
            ([1; 16], UNTOLD, true),
            ([1; 16], [2; 16], false),
        ] {
            let (left, here) = (region_of(left), region_of(here));
            let lease = Lease { pid, start_time, ..Lease::of(&left, State::Open, 1) };
            // Without `/proc` the lease has only the owner's number, which is that of a living process.
            let bare = Lease { pid: std::process::id().into(), start_time: 0, space: 0, ..lease.clone() };
            let lives = |lease: &Lease| Lease::living_owner(&Found::Whole(lease.clone()), &here).is_some();
            let found = Found::Whole(lease.clone());
            let told = (lives(&lease), lives(&bare), Lease::left_in_caches(&found, &here));
            assert_eq!(told, (may_be_one, may_be_one, may_be_one), "{lease:?}");
            leases.push((found, here));
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        for (found, here) in leases {
            assert_eq!(Lease::living_owner(&found, &here), None, "it is dead, on whichever boot");
        }
    }
}
