//! A Parquet file with a column of text.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::ByteArrayType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::panics::caught;
use super::read_at::ReadAt;
use crate::data::format;
use crate::{Error, Result};

/// The column of the text.
const TEXT: &str = "text";

/// Column names listed in an error.
const NAMES_SHOWN: usize = 8;

/// An open file whose column `text` was found.
pub(super) struct ParquetFile {
    path: PathBuf,
    reader: SerializedFileReader<ReadAt>,
    /// The index of the column among all columns.
    column: usize,
}

impl ParquetFile {
    /// # Errors
    /// [`Error::BadFile`] if it is not a complete Parquet file, or has no readable column `text` of strings;
    /// [`Error::Io`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        format::check_parquet(path)?;
        let file = File::open(path).and_then(ReadAt::new).map_err(Error::io(path, "open"))?;
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        let column = guarded(path, || Ok(text_column(path, &reader)))??;
        let file = Self { path: path.into(), reader, column };
        guarded(path, || Ok(file.check_row_groups()))??;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The indices of the row groups.
    pub(super) fn row_groups(&self) -> Range<usize> {
        0..self.reader.num_row_groups()
    }

    fn row_group(&self, index: usize) -> &RowGroupMetaData {
        self.reader.metadata().row_group(index)
    }

    /// Rows in a row group.
    pub(super) fn rows(&self, row_group: usize) -> usize {
        usize::try_from(self.row_group(row_group).num_rows()).unwrap_or(0)
    }

    /// Size of the text of a row group, in bytes, as far as the file states it: repeated lines may count
    /// once.
    pub(super) fn text_bytes(&self, row_group: usize) -> u64 {
        let column = self.row_group(row_group).columns().get(self.column);
        column.map_or(0, |column| u64::try_from(column.uncompressed_size()).unwrap_or(0))
    }

    /// A reader of the text of a row group.
    pub(super) fn text(&self, row_group: usize) -> Result<ColumnReaderImpl<ByteArrayType>> {
        self.guarded(|| {
            let reader = self.reader.get_row_group(row_group)?.get_column_reader(self.column)?;
            match reader {
                ColumnReader::ByteArrayColumnReader(reader) => Ok(reader),
                _ => Err(ParquetError::General("the type of its column changes".into())),
            }
        })
    }

    /// Calls the crate `parquet`; see [`guarded`].
    pub(super) fn guarded<T>(&self, work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
        guarded(&self.path, work)
    }

    pub(super) fn damaged(&self, problem: &str) -> Error {
        damaged(&self.path, problem)
    }

    /// Checks what the end of the file says of its row groups.
    fn check_row_groups(&self) -> Result<()> {
        let bytes = std::fs::metadata(&self.path).map_err(Error::io(&self.path, "read"))?.len();
        for group in self.reader.metadata().row_groups() {
            let Some(column) = group.columns().get(self.column) else {
                return Err(self.damaged("a row group lacks columns"));
            };
            let (start, length) = column.byte_range();
            if start.checked_add(length).is_none_or(|end| end > bytes) || group.num_rows() < 0 {
                return Err(self.damaged("a row group lies outside of the file"));
            }
            check_compression(&self.path, column)?;
        }
        Ok(())
    }
}

/// The index of the column `text`.
fn text_column(path: &Path, reader: &SerializedFileReader<ReadAt>) -> Result<usize> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let columns = schema.columns();
    let remedy = "give a table with a column `text` of strings, one line per row";
    let of_text = |parts: &[String]| parts.first().is_some_and(|name| name == TEXT);
    let Some(index) = columns.iter().position(|column| of_text(column.path().parts())) else {
        let names = schema.root_schema().get_fields().iter().map(|field| field.name());
        let mut names: Vec<_> = names.collect();
        let more = if names.len() > NAMES_SHOWN { " and more" } else { "" };
        names.truncate(NAMES_SHOWN);
        return Err(Error::bad_file(
            path,
            format!("has no column `{TEXT}`; its columns are {}{more}", names.join(", ")),
            remedy,
        ));
    };
    let column = &columns[index];
    let flat = column.path().parts().len() == 1 && column.max_rep_level() == 0;
    if !flat || column.max_def_level() > 1 || column.physical_type() != Type::BYTE_ARRAY {
        return Err(Error::bad_file(
            path,
            format!("its column `{TEXT}` does not hold strings"),
            remedy,
        ));
    }
    Ok(index)
}

fn check_compression(path: &Path, column: &ColumnChunkMetaData) -> Result<()> {
    let compression = column.compression();
    match compression {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::ZSTD(_) => Ok(()),
        _ => Err(Error::bad_file(
            path,
            format!("is compressed by {compression}, which this program cannot read"),
            "write it again with snappy, zstd, gzip or no compression",
        )),
    }
}

/// Calls the crate `parquet`. It panics on some damaged files, for example where an index exceeds its
/// dictionary; such a panic becomes the same error as other damage.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    // The error ends the reading of the file, so that what a panic leaves behind is not used again.
    match caught(work) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(failure(path, error)),
        None => Err(damaged(path, "its parts contradict each other")),
    }
}

/// Distinguishes disk errors from damaged files.
fn failure(path: &Path, error: ParquetError) -> Error {
    let error = match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) if source.raw_os_error().is_some() => {
                return Error::io(path, "read")(*source);
            }
            Ok(source) => source.to_string(),
            Err(source) => source.to_string(),
        },
        error => error.to_string(),
    };
    damaged(path, &error)
}

fn damaged(path: &Path, problem: &str) -> Error {
    Error::bad_file(path, format!("is damaged: {problem}"), "copy or download the file again")
}
