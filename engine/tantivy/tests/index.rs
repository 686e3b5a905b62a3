//! A whole index on a region.

use pagestone::Store;
use pagestone::store::CloseError;
use pagestone_tantivy::PagestoneDirectory;
use std::thread;
use std::time::{Duration, Instant};
use tantivy::collector::{Count, TopDocs};
use tantivy::query::{QueryParser, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TEXT, Value};
use tantivy::{Index, IndexSettings, IndexWriter, ReloadPolicy, TantivyDocument, Term, doc};

fn schema() -> (Schema, Field, Field) {
    let mut schema = Schema::builder();
    let number = schema.add_u64_field("number", INDEXED | FAST | STORED);
    let text = schema.add_text_field("text", TEXT | STORED);
    (schema.build(), number, text)
}

fn words(number: u64) -> String {
    let word = |n: u64| format!("w{}", (number * 31 + n * n * 17) % 500);
    (0..30).map(word).chain([format!("unique{number}")]).collect::<Vec<_>>().join(" ")
}

fn count(index: &Index, field: Field, word: &str) -> usize {
    let query = TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::Basic);
    index.reader().unwrap().searcher().search(&query, &Count).unwrap()
}

/// Closes a store once tantivy's threads, which are not waited for, have let go of it: nothing is left open or pinned.
fn close(mut store: Store) {
    let patience = Instant::now() + Duration::from_secs(20);
    while let Err(CloseError { store: open, error }) = store.close() {
        assert!(Instant::now() < patience, "{error}");
        store = open;
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_index_is_built_searched_merged_and_found_again_without_copying_a_byte() {
    const DOCUMENTS: u64 = 3_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.pgs");
    let (schema, number, text) = schema();
    {
        let store = Store::options().create(true).open(&path).unwrap();
        let directory = PagestoneDirectory::open(&store, "index").unwrap();
        let index = Index::create(directory.clone(), schema, IndexSettings::default()).unwrap();
        let mut writer: IndexWriter = index.writer_with_num_threads(2, 30_000_000).unwrap();
        for n in 0..DOCUMENTS {
            writer.add_document(doc!(number => n, text => words(n))).unwrap();
            if n % 1_000 == 999 {
                writer.commit().unwrap();
            }
        }
        writer.delete_term(Term::from_field_u64(number, 7));
        writer.commit().unwrap();
        let segments = index.searchable_segment_ids().unwrap();
        writer.merge(&segments).wait().unwrap();
        writer.wait_merging_threads().unwrap();
        let reads = directory.reads();
        assert!(reads.pinned_bytes > 100_000, "{reads:?}");
        assert!(reads.copied_bytes * 20 < reads.pinned_bytes, "{reads:?}");
        drop((index, directory));
        close(store);
    }
    let store = Store::options().open(&path).unwrap();
    let directory = PagestoneDirectory::open(&store, "index").unwrap();
    let index = Index::open(directory.clone()).unwrap();
    assert!(index.validate_checksum().unwrap().is_empty());
    let searcher = index.reader().unwrap().searcher();
    assert_eq!(searcher.num_docs(), DOCUMENTS - 1);
    assert_eq!(searcher.segment_readers().len(), 1);
    for n in [0, 1, 999, 1_000, 2_999] {
        let query = QueryParser::for_index(&index, vec![text]).parse_query(&format!("unique{n}")).unwrap();
        let found = searcher.search(&query, &TopDocs::with_limit(5).order_by_score()).unwrap();
        assert_eq!(found.len(), 1);
        let document: TantivyDocument = searcher.doc(found[0].1).unwrap();
        assert_eq!(document.get_first(number).unwrap().as_u64(), Some(n));
        assert_eq!(document.get_first(text).unwrap().as_str(), Some(words(n).as_str()));
    }
    assert_eq!(count(&index, text, "unique7"), 0);
    let expected =
        (0..DOCUMENTS).filter(|&n| n != 7 && words(n).split(' ').any(|word| word == "w17")).count();
    assert_eq!(count(&index, text, "w17"), expected);
    drop(searcher);
    assert_eq!(directory.reads().copied_bytes, 0, "one thread wrote the merged files");
    assert!(store.check().unwrap().findings.is_empty());
}

#[test]
fn a_searcher_goes_on_while_its_files_are_merged_away_and_their_space_is_used() {
    let store = Store::options().open_memory(8 << 20).unwrap();
    let (schema, number, text) = schema();
    let directory = PagestoneDirectory::open(&store, "index").unwrap();
    let index = Index::create(directory, schema, IndexSettings::default()).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    for n in 0..400u64 {
        writer.add_document(doc!(number => n, text => words(n))).unwrap();
        if n % 100 == 99 {
            writer.commit().unwrap();
        }
    }
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().unwrap();
    let searcher = reader.searcher();
    let segments = index.searchable_segment_ids().unwrap();
    writer.merge(&segments).wait().unwrap();
    for n in 400..800u64 {
        writer.add_document(doc!(number => n, text => words(n))).unwrap();
    }
    writer.commit().unwrap();
    writer.garbage_collect_files().wait().unwrap();
    for n in 0..400 {
        let query =
            TermQuery::new(Term::from_field_text(text, &format!("unique{n}")), IndexRecordOption::Basic);
        let found = searcher.search(&query, &TopDocs::with_limit(5).order_by_score()).unwrap();
        let document: TantivyDocument = searcher.doc(found[0].1).unwrap();
        assert_eq!(document.get_first(text).unwrap().as_str(), Some(words(n).as_str()));
    }
    drop(searcher);
    reader.reload().unwrap();
    assert_eq!(reader.searcher().num_docs(), 800);
}

#[test]
fn a_store_that_is_open_for_reading_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.pgs");
    let (schema, number, text) = schema();
    {
        let store = Store::options().create(true).open(&path).unwrap();
        let directory = PagestoneDirectory::open(&store, "index").unwrap();
        let index = Index::create(directory, schema, IndexSettings::default()).unwrap();
        let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.add_document(doc!(number => 1u64, text => words(1))).unwrap();
        writer.commit().unwrap();
    }
    let store = Store::options().read_only(true).open(&path).unwrap();
    let index = Index::open(PagestoneDirectory::open(&store, "index").unwrap()).unwrap();
    assert_eq!(count(&index, text, "unique1"), 1);
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    let written = writer.add_document(doc!(number => 2u64, text => words(2)));
    assert!(written.and_then(|_| writer.commit()).is_err());
}

/// A searcher keeps slices of each field's files for as long as it lives.
#[test]
fn one_query_over_two_thousand_text_fields_is_answered() {
    const FIELDS: usize = 2_000;
    let store = Store::options().open_memory(64 << 20).unwrap();
    let directory = PagestoneDirectory::open(&store, "index").unwrap();
    let mut schema = Schema::builder();
    let fields: Vec<_> = (0..FIELDS).map(|n| schema.add_text_field(&format!("f{n}"), TEXT)).collect();
    let index = Index::create(directory.clone(), schema.build(), IndexSettings::default()).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 15_000_000).unwrap();
    for n in 0..3 {
        let mut document = TantivyDocument::default();
        fields.iter().for_each(|field| document.add_text(*field, format!("word w{n}")));
        writer.add_document(document).unwrap();
    }
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let query = QueryParser::for_index(&index, fields).parse_query("word").unwrap();
        let searcher = index.reader().unwrap().searcher();
        sender.send(searcher.search(&query, &Count).unwrap()).unwrap();
    });
    let found = receiver.recv_timeout(Duration::from_secs(120)).expect("it hangs");
    assert_eq!(found, 3);
    let reads = directory.reads();
    println!("{reads:?}");
    assert_eq!(reads.copied, 0);
    drop(directory);
    close(store);
}
