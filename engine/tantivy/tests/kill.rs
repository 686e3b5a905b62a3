//! A process that commits to a tantivy index on Pagestone is killed with SIGKILL at random moments, again and again:
//! nothing that it has acknowledged is lost, no file is torn, no lock is left. `PAGESTONE_TANTIVY_ROUNDS` says how often.

use pagestone::{Durability, Store};
use pagestone_kit::rounds::{Orders, Outcome, Said, acknowledge, begin, play, unborn};
use pagestone_tantivy::PagestoneDirectory;
use tantivy::collector::Count;
use tantivy::query::{AllQuery, TermQuery};
use tantivy::schema::{FAST, INDEXED, IndexRecordOption, STORED, Schema, TEXT};
use tantivy::{Index, IndexSettings, IndexWriter, Term, doc};

fn main() -> Outcome {
    play("PAGESTONE_TANTIVY_ROUNDS", work, weigh)
}

fn schema() -> Schema {
    let mut schema = Schema::builder();
    schema.add_u64_field("number", INDEXED | FAST | STORED);
    schema.add_text_field("text", TEXT | STORED);
    schema.build()
}

fn open(orders: &Orders) -> Outcome<(Store, Index)> {
    let mut options = Store::options().create(true);
    if orders.lines {
        options = options.assume(Durability::CacheLine);
    }
    let store = options.open(&orders.region)?;
    let directory = PagestoneDirectory::open(&store, "index")?;
    let index = match Index::exists(&directory)? {
        true => Index::open(directory)?,
        false => Index::create(directory, schema(), IndexSettings::default())?,
    };
    Ok((store, index))
}

/// How many documents there are: a transaction adds one.
fn head(index: &Index) -> Outcome<u64> {
    Ok(index.reader()?.searcher().num_docs())
}

fn work(orders: &Orders) -> Outcome {
    let (_store, index) = open(orders)?;
    let (number, text) = (index.schema().get_field("number")?, index.schema().get_field("text")?);
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000)?;
    for n in head(&index)? + 1.. {
        begin(n);
        writer.add_document(doc!(number => n, text => format!("all of them, and the {n}th")))?;
        writer.commit()?;
        acknowledge(n);
    }
    Ok(())
}

fn weigh(orders: &Orders, said: &Said) -> Outcome<u64> {
    if unborn(&orders.region, said) {
        return Ok(0);
    }
    let (store, index) = open(orders)?;
    let damaged = index.validate_checksum()?;
    if !damaged.is_empty() {
        return Err(format!("damaged files: {damaged:?}").into());
    }
    let head = head(&index)?;
    said.allows(head)?;
    let searcher = index.reader()?.searcher();
    let number = index.schema().get_field("number")?;
    for n in 1..=head {
        let query = TermQuery::new(Term::from_field_u64(number, n), IndexRecordOption::Basic);
        if searcher.search(&query, &Count)? != 1 {
            return Err(format!("document {n} of {head} is not there once").into());
        }
    }
    if searcher.search(&AllQuery, &Count)? as u64 != head {
        return Err("there are other documents".into());
    }
    drop((searcher, index));
    match store.check()?.findings {
        findings if findings.is_empty() => Ok(head),
        findings => Err(format!("the region: {findings:?}").into()),
    }
}
