//! The table of groups behind the last group that has a bitmap: all words there must say "nothing".

use super::Walk;
use crate::error::Result;
use crate::media::groups;
use crate::media::layout::{GROUPS_MAX, TABLE_GROUPS, WORD_SIZE};
use crate::media::words::{WORDS, Words};

impl<W: Words> Walk<'_, W> {
    /// Checks that each word of the table's root and of the table says "nothing" if it belongs to no group of the region
    /// and not to the one behind them. Growth relies on that.
    pub(super) fn rest_of_table(&mut self) -> Result {
        let Ok(root) = groups::root(self.words, self.shape) else { return Ok(()) };
        let last = self.shape.groups().min(GROUPS_MAX - 1);
        let tables = last / TABLE_GROUPS + 1;
        self.nothing(root.offset() + tables * WORD_SIZE, WORDS - tables)?;
        // A frame of the table that cannot be found is a finding already. Before the last frame all words belong to a
        // group.
        if let Ok(Some(table)) = groups::table(self.words, self.shape, last) {
            let used = 2 * (last % TABLE_GROUPS + 1);
            self.nothing(table.offset() + used * WORD_SIZE, WORDS - used)?;
        }
        Ok(())
    }

    fn nothing(&mut self, from: u64, count: u64) -> Result {
        let mut found = vec![0; count as usize];
        if count > 0 {
            self.words.run(from, &mut found)?;
        }
        for (at, word) in (from..).step_by(WORD_SIZE as usize).zip(found) {
            if word != self.words.salt().place(at).nothing() {
                self.report.find(
                    "group-table",
                    at,
                    "a group that the region does not have has something here",
                );
            }
        }
        Ok(())
    }
}
