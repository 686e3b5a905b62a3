//! Switches that break one rule of the log each, so that a test can show what the rule is for.
//!
//! Only tests set them. For each, the page of the log's rules (`engine/docs/log.md`) has a schedule of what goes wrong
//! when it is set, and names the test that demands it.

/// A rule of the medium's protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "engine/docs/log.md has a schedule for each")]
pub enum Rule {
    OneMark,
    RoleReuse,
    CoverLate,
    MarkFirst,
    GrowthTail,
    NtFence,
    StaleShadow,
    SyncEarlier,
    SyncUncommitted,
    TailNotDurable,
    TailNotFlushed,
    HeaderTorn,
    RecoveryNoMark,
    LeaseFirst,
    SameEpoch,
    IgnoreIdentity,
    IgnoreFailure,
    GrowWhileTruncating,
    StepSplits,
    ReuseBeforeUnpin,
    LiveSuperblock,
    DisownStores,
    DisownCopies,
    RecoveryMarksAll,
    FollowerEarly,
    CursorPast,
    TailThenHomes,
    EpochNotDurable,
    SizeFirst,
    CursorAlways,
    RecoveryNotFlushed,
    DirtForgotten,
    ZeroEarly,
    ReuseCommitted,
    RenameSplits,
    UnlinkSplits,
    CursorIgnored,
    BatchOmitsDirty,
    BatchOmitsTaken,
    BatchUnlatched,
    BatchReleasesEarly,
    PayloadReuse,
    SyncKeepsImages,
    GrowthKeepsImages,
    PunchEarly,
    CutEarly,
    OneHeader,
    CursorUnchecked,
    EmptyZero,
    OneRoot,
    TallyApart,
    TallyUnchecked,
    BitmapLater,
    NamesUnkeyed,
    ChainUnbounded,
    SlotsSplit,
    SealSplits,
    MoveUnpublished,
    MoveUnfenced,
}

impl Rule {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::OneMark,
        Self::RoleReuse,
        Self::CoverLate,
        Self::MarkFirst,
        Self::GrowthTail,
        Self::NtFence,
        Self::StaleShadow,
        Self::SyncEarlier,
        Self::SyncUncommitted,
        Self::TailNotDurable,
        Self::TailNotFlushed,
        Self::HeaderTorn,
        Self::RecoveryNoMark,
        Self::LeaseFirst,
        Self::SameEpoch,
        Self::IgnoreIdentity,
        Self::IgnoreFailure,
        Self::GrowWhileTruncating,
        Self::StepSplits,
        Self::ReuseBeforeUnpin,
        Self::LiveSuperblock,
        Self::DisownStores,
        Self::DisownCopies,
        Self::RecoveryMarksAll,
        Self::FollowerEarly,
        Self::CursorPast,
        Self::TailThenHomes,
        Self::EpochNotDurable,
        Self::SizeFirst,
        Self::CursorAlways,
        Self::RecoveryNotFlushed,
        Self::DirtForgotten,
        Self::ZeroEarly,
        Self::ReuseCommitted,
        Self::RenameSplits,
        Self::UnlinkSplits,
        Self::CursorIgnored,
        Self::BatchOmitsDirty,
        Self::BatchOmitsTaken,
        Self::BatchUnlatched,
        Self::BatchReleasesEarly,
        Self::PayloadReuse,
        Self::SyncKeepsImages,
        Self::GrowthKeepsImages,
        Self::PunchEarly,
        Self::CutEarly,
        Self::OneHeader,
        Self::CursorUnchecked,
        Self::EmptyZero,
        Self::OneRoot,
        Self::TallyApart,
        Self::TallyUnchecked,
        Self::BitmapLater,
        Self::NamesUnkeyed,
        Self::ChainUnbounded,
        Self::SlotsSplit,
        Self::SealSplits,
        Self::MoveUnpublished,
        Self::MoveUnfenced,
    ];
}

/// The set of broken rules: empty outside tests, and nothing at all without the feature `internals`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rules(#[cfg(any(test, feature = "internals"))] u64);

#[cfg(any(test, feature = "internals"))]
impl Rules {
    /// All rules are kept.
    pub const KEPT: Self = Self(0);
    /// The same set with `rule` broken.
    #[must_use]
    pub const fn breaking(self, rule: Rule) -> Self {
        Self(self.0 | 1 << rule as u8)
    }
    /// Whether `rule` is broken.
    #[must_use]
    pub const fn broken(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u8) != 0
    }
}

#[cfg(not(any(test, feature = "internals")))]
impl Rules {
    /// All rules are kept.
    pub const KEPT: Self = Self();
    /// The same set: no rule can be broken.
    #[must_use]
    pub const fn breaking(self, _: Rule) -> Self {
        self
    }
    /// Never.
    #[inline(always)]
    #[must_use]
    pub const fn broken(self, _: Rule) -> bool {
        false
    }
}
