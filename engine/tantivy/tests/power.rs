//! tantivy's commits, cut off at every moment.

use pagestone::persist::Recorder;
use pagestone::{Durability, Store};
use pagestone_tantivy::PagestoneDirectory;
use pagestone_tests::crash::commits::{Outcome, holds};
use tantivy::collector::Count;
use tantivy::query::TermQuery;
use tantivy::schema::{IndexRecordOption, STORED, Schema, TEXT};
use tantivy::{Index, IndexSettings, IndexWriter, Term, doc};

const COMMITS: u64 = 4;

fn work(store: &Store, recorder: &Recorder) -> Outcome {
    let mut schema = Schema::builder();
    let text = schema.add_text_field("text", TEXT | STORED);
    let index =
        Index::create(PagestoneDirectory::open(store, "index")?, schema.build(), IndexSettings::default())?;
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000)?;
    recorder.mark(0);
    for n in 1..=COMMITS {
        writer.add_document(doc!(text => format!("the number{n} of all")))?;
        writer.commit()?;
        recorder.mark(n);
    }
    writer.wait_merging_threads()?;
    Ok(())
}

fn weigh(store: &Store) -> Outcome<u64> {
    let directory = PagestoneDirectory::open(store, "index")?;
    if !Index::exists(&directory)? {
        return Ok(0);
    }
    let index = Index::open(directory)?;
    let damaged = index.validate_checksum()?;
    if !damaged.is_empty() {
        return Err(format!("damaged files: {damaged:?}").into());
    }
    let text = index.schema().get_field("text")?;
    let searcher = index.reader()?.searcher();
    let last = searcher.num_docs();
    for n in 1..=last {
        let query =
            TermQuery::new(Term::from_field_text(text, &format!("number{n}")), IndexRecordOption::Basic);
        if searcher.search(&query, &Count)? != 1 {
            return Err(format!("document {n} of {last} is not there once").into());
        }
    }
    Ok(last)
}

#[test]
fn a_commit_of_tantivy_that_returned_survives_a_power_cut_on_a_file() {
    holds(Durability::Fdatasync, 400, work, weigh);
}

#[test]
fn a_commit_of_tantivy_that_returned_survives_a_power_cut_on_cache_lines() {
    holds(Durability::CacheLine, 400, work, weigh);
}
