//! The messages of the worker before it was killed, with which the database is compared.

use std::collections::BTreeMap;

/// A message of the worker, one line on its pipe. A line is written after the reported event.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// This many rows of the data set are committed in total.
    Rows(u64),
    /// The data set is complete; readers and writers start.
    Ready,
    /// A writer starts its transaction.
    Begin(Writer),
    /// A writer's transaction is committed.
    Ack(Writer),
    /// A reader got an answer.
    Answer,
    /// Counters of the engine, as `name=value` words.
    Stats(String),
    /// The worker gave up.
    Failed(String),
}

/// A writer and the number of its transaction, from 1.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Writer {
    /// Which writer.
    pub thread: u32,
    /// The number of its transaction.
    pub transaction: u64,
}

impl Message {
    /// The line for it.
    pub fn line(&self) -> String {
        match self {
            Self::Rows(n) => format!("rows {n}\n"),
            Self::Ready => "ready\n".into(),
            Self::Begin(w) => format!("begin {} {}\n", w.thread, w.transaction),
            Self::Ack(w) => format!("ack {} {}\n", w.thread, w.transaction),
            Self::Answer => "answer\n".into(),
            Self::Stats(s) => format!("stats {}\n", s.split_whitespace().collect::<Vec<_>>().join(" ")),
            Self::Failed(why) => format!("failed {}\n", why.replace('\n', " ")),
        }
    }

    /// The message of a line; `None` for a line that the kill cut off.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let writer = || {
            let (thread, transaction) = rest.split_once(' ')?;
            Some(Writer { thread: thread.parse().ok()?, transaction: transaction.parse().ok()? })
        };
        Some(match word {
            "rows" => Self::Rows(rest.parse().ok()?),
            "ready" => Self::Ready,
            "begin" => Self::Begin(writer()?),
            "ack" => Self::Ack(writer()?),
            "answer" => Self::Answer,
            "stats" => Self::Stats(rest.into()),
            "failed" => Self::Failed(rest.into()),
            _ => return None,
        })
    }
}

/// The sum of all messages.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Rows of the data set acknowledged.
    pub rows: u64,
    /// Transactions of the import acknowledged.
    pub imports: u64,
    /// Whether readers and writers were at work.
    pub ready: bool,
    /// Last transaction begun, by writer.
    pub begun: BTreeMap<u32, u64>,
    /// Last transaction acknowledged, by writer.
    pub acknowledged: BTreeMap<u32, u64>,
    /// Queries answered.
    pub answers: u64,
    /// The last counters seen.
    pub stats: Option<String>,
    /// Why the worker gave up, if it did.
    pub failed: Option<String>,
}

impl Ledger {
    /// Records one message.
    pub fn enter(&mut self, message: Message) {
        match message {
            Message::Rows(n) => {
                self.rows = n;
                self.imports += 1;
            }
            Message::Ready => self.ready = true,
            Message::Begin(w) => drop(self.begun.insert(w.thread, w.transaction)),
            Message::Ack(w) => drop(self.acknowledged.insert(w.thread, w.transaction)),
            Message::Answer => self.answers += 1,
            Message::Stats(s) => self.stats = Some(s),
            Message::Failed(why) => self.failed = Some(why),
        }
    }

    /// Transactions acknowledged, of all writers.
    pub fn total_acknowledged(&self) -> u64 {
        self.acknowledged.values().sum()
    }

    /// Transactions begun and not acknowledged.
    pub fn open(&self) -> u64 {
        self.begun.values().sum::<u64>() - self.total_acknowledged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_its_line() {
        let w = Writer { thread: 3, transaction: 99 };
        let all = [
            Message::Rows(7),
            Message::Ready,
            Message::Begin(w),
            Message::Ack(w),
            Message::Answer,
            Message::Stats("a=1 b=2".into()),
            Message::Failed("disk full".into()),
        ];
        for m in all {
            assert_eq!(Message::parse(m.line().trim_end()), Some(m));
        }
    }

    #[test]
    fn a_torn_line_says_nothing() {
        assert_eq!(Message::parse("ack 3"), None);
        assert_eq!(Message::parse("ac"), None);
    }
}
