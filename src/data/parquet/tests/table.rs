//! Writes Parquet tables for tests.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// What the same rows may look like in a file.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The columns, of which the test writes only those of strings.
    pub schema: &'static str,
    pub compression: Compression,
    pub version: WriterVersion,
    pub dictionary: bool,
    pub rows_per_group: usize,
    pub rows_per_page: usize,
}

pub const OPTIONAL: &str = "message m { optional binary text (string); }";
pub const REQUIRED: &str = "message m { required binary text (utf8); }";
pub const SECOND: &str =
    "message m { required binary id (string); optional binary text (string); }";

impl Default for Layout {
    fn default() -> Self {
        Self {
            schema: OPTIONAL,
            compression: Compression::SNAPPY,
            version: WriterVersion::PARQUET_1_0,
            dictionary: true,
            rows_per_group: 1000,
            rows_per_page: 20_000,
        }
    }
}

impl Layout {
    pub fn all() -> Vec<Self> {
        let mut all = vec![];
        let compressions = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(Default::default()),
            Compression::GZIP(Default::default()),
        ];
        for compression in compressions {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                for dictionary in [false, true] {
                    for (schema, rows_per_group, rows_per_page) in
                        [(OPTIONAL, 1000, 7), (REQUIRED, 33, 20_000), (SECOND, 100, 20)]
                    {
                        all.push(Self {
                            schema,
                            compression,
                            version,
                            dictionary,
                            rows_per_group,
                            rows_per_page,
                        });
                    }
                }
            }
        }
        all
    }
}

/// The rows that stand for the lines of a text.
pub fn rows_of(text: &str) -> Vec<&[u8]> {
    let lines = text.split_inclusive('\n');
    lines.map(|line| if line.trim().is_empty() { &b""[..] } else { line.as_bytes() }).collect()
}

/// A table of these rows.
pub fn table(rows: &[&[u8]], layout: &Layout) -> Vec<u8> {
    let rows: Vec<_> = rows.iter().map(|row| Some(*row)).collect();
    table_with_nulls(&rows, layout)
}

/// A table of these rows; `None` is a null.
pub fn table_with_nulls(rows: &[Option<&[u8]>], layout: &Layout) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(layout.compression)
        .set_writer_version(layout.version)
        .set_dictionary_enabled(layout.dictionary)
        .set_data_page_row_count_limit(layout.rows_per_page)
        .set_write_batch_size(layout.rows_per_page)
        .build();
    let schema = Arc::new(parse_message_type(layout.schema).unwrap());
    let mut writer = SerializedFileWriter::new(vec![], schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(layout.rows_per_group) {
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            let ColumnWriter::ByteArrayColumnWriter(strings) = column.untyped() else {
                panic!("the test writes strings only")
            };
            let values: Vec<_> =
                rows.iter().flatten().map(|row| ByteArray::from(row.to_vec())).collect();
            let levels: Vec<_> = rows.iter().map(|row| i16::from(row.is_some())).collect();
            strings.write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}
