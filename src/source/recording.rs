//! A recording on disk, piece by piece, inflated on the way if it is gzip.
//!
//! Without: lines and their meaning. Holds one chunk of the file and the inflater's window, whatever the file's size.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::write::MultiGzDecoder;

use crate::disk::{Access, File};

/// Bytes read from the file at once. Inflated they are looked at in steps of the inflater's 32 KiB, so that even a file
/// that inflates a thousandfold takes no more memory.
const CHUNK_BYTES: usize = 32 * 1024;

/// The two bytes that every gzip member begins with (RFC 1952 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A recording that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Not opened.
    #[error("the recording {path:?} cannot be opened: {error}; check the path in `file` and that this user may read it")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Not read to its end.
    #[error("the recording {path:?} cannot be read at byte {at}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// How far it was read.
        at: u64,
        /// What the system says.
        error: io::Error,
    },
    /// The gzip data has no proper end: its last member is unfinished, or its checksum is another.
    #[error(
        "the recording {path:?} is cut off or damaged: its gzip data does not end as it should at byte {at}; fetch the file again"
    )]
    Ending {
        /// The file.
        path: PathBuf,
        /// Its size.
        at: u64,
    },
    /// Broken gzip data.
    #[error("the recording {path:?} is damaged: its gzip data is wrong before byte {at} ({error}); fetch the file again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How far it was read.
        at: u64,
        /// What the inflater says.
        error: io::Error,
    },
}

/// An open recording.
pub struct Recording {
    path: PathBuf,
    file: File,
    chunk: Vec<u8>,
    /// Bytes of `chunk` that were handed on.
    consumed: usize,
    /// Where the next chunk begins in the file.
    at: u64,
    form: Form,
}

enum Form {
    /// Nothing was read yet.
    Unknown,
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// The end was reached.
    Ended,
}

impl Recording {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`RecordingError::Open`].
    pub async fn open(path: &Path) -> Result<Recording, RecordingError> {
        let open = |error| RecordingError::Open { path: path.to_owned(), error };
        let file = File::open(path, Access::Read).await.map_err(open)?;
        let chunk = Vec::with_capacity(CHUNK_BYTES);
        Ok(Recording { path: path.to_owned(), file, chunk, consumed: 0, at: 0, form: Form::Unknown })
    }

    /// Appends the next piece to `out`, possibly nothing; false at the end.
    ///
    /// # Errors
    /// [`RecordingError`], but not `Open`.
    pub async fn read(&mut self, out: &mut Vec<u8>) -> Result<bool, RecordingError> {
        if matches!(self.form, Form::Ended) {
            return Ok(false);
        }
        if self.consumed == self.chunk.len() {
            self.fill().await?;
            if self.chunk.is_empty() {
                self.end(out)?;
                return Ok(true);
            }
        }
        if matches!(self.form, Form::Unknown) {
            let gzip = self.chunk.starts_with(&GZIP_MAGIC);
            self.form = if gzip { Form::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))) } else { Form::Plain };
        }
        self.pass_on(out)?;
        Ok(true)
    }

    /// Reads the next chunk; an empty one is the file's end.
    async fn fill(&mut self) -> Result<(), RecordingError> {
        let chunk = std::mem::take(&mut self.chunk);
        let (result, chunk) = self.file.read_at(chunk, self.at).await;
        self.chunk = chunk;
        self.consumed = 0;
        match result {
            Ok(count) => {
                self.at += count as u64;
                Ok(())
            }
            Err(error) => Err(RecordingError::Read { path: self.path.clone(), at: self.at, error }),
        }
    }

    /// Hands on a part of the chunk.
    fn pass_on(&mut self, out: &mut Vec<u8>) -> Result<(), RecordingError> {
        let rest = &self.chunk[self.consumed..];
        let Form::Gzip(inflater) = &mut self.form else {
            out.extend_from_slice(rest);
            self.consumed = self.chunk.len();
            return Ok(());
        };
        let damaged = |error| RecordingError::Damaged { path: self.path.clone(), at: self.at, error };
        match inflater.write(rest) {
            Ok(0) => return Err(damaged(io::Error::other("the inflater takes no more of it"))),
            Ok(count) => self.consumed += count,
            Err(error) => return Err(damaged(error)),
        }
        out.append(inflater.get_mut());
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), RecordingError> {
        if let Form::Gzip(mut inflater) = std::mem::replace(&mut self.form, Form::Ended) {
            inflater.try_finish().map_err(|_| RecordingError::Ending { path: self.path.clone(), at: self.at })?;
            out.append(inflater.get_mut());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::disk::{Disk, start};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let [by_ring, by_pool] = [Disk::Ring, Disk::Pool].map(|disk| read_by(disk, file.path()));
        assert_eq!(by_ring, by_pool);
        by_pool
    }

    fn read_by(disk: Disk, path: &Path) -> Result<Vec<u8>, String> {
        start(disk, async {
            let mut recording = Recording::open(path).await.unwrap();
            let mut out = Vec::new();
            while recording.read(&mut out).await.map_err(|error| error.to_string())? {}
            Ok(out)
        })
        .unwrap()
    }

    fn text() -> Vec<u8> {
        (0..40_000).map(|n| format!("{n} {{\"n\":{}}}\n", n * 7919)).collect::<String>().into_bytes()
    }

    #[test]
    fn plain_and_gzip_give_the_same_bytes() {
        let text = text();
        assert_eq!(read(&text), Ok(text.clone()));
        assert_eq!(read(&gzip(&text)), Ok(text.clone()));
        assert_eq!(read(b""), Ok(Vec::new()));
        assert_eq!(read(&gzip(b"")), Ok(Vec::new()));
        // RFC 1952 2.2: a file may be several members one behind the other.
        let members = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        assert_eq!(read(&members), Ok(text));
    }

    #[test]
    fn a_thousandfold_inflation_is_taken_in_small_steps() {
        let zeros = vec![b' '; 64 << 20];
        let packed = gzip(&zeros);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), packed).unwrap();
        start(Disk::Pool, async {
            let mut recording = Recording::open(file.path()).await.unwrap();
            let (mut out, mut total) = (Vec::new(), 0);
            while recording.read(&mut out).await.unwrap() {
                assert!(out.len() <= 128 * 1024, "{} bytes in one piece", out.len());
                total += out.len();
                out.clear();
            }
            assert_eq!(total, zeros.len());
        })
        .unwrap();
    }

    #[test]
    fn cut_off_and_damaged_gzip_is_told_as_such() {
        let packed = gzip(&text());
        for len in [2, 9, 10, 11, packed.len() / 2, packed.len() - 9, packed.len() - 8, packed.len() - 1] {
            let error = read(&packed[..len]).expect_err("cut off");
            assert!(
                error.contains(&format!("is cut off or damaged: its gzip data does not end as it should at byte {len};")),
                "{error}"
            );
        }
        let turned = |place: usize| {
            let mut damaged = packed.clone();
            damaged[place] ^= 1;
            read(&damaged).expect_err("damaged")
        };
        let checksum = turned(packed.len() - 5);
        assert!(checksum.contains("is cut off or damaged"), "{checksum}");
        let method = turned(2);
        assert!(method.contains("is damaged: its gzip data is wrong before byte"), "{method}");
    }

    #[test]
    fn a_missing_file_and_a_directory_are_sentences() {
        let directory = tempfile::tempdir().unwrap();
        start(Disk::Pool, async {
            let missing = Recording::open(&directory.path().join("none.gz")).await.err().expect("missing").to_string();
            assert!(missing.contains("none.gz\" cannot be opened: No such file or directory"), "{missing}");
            let mut recording = Recording::open(directory.path()).await.unwrap();
            let error = recording.read(&mut Vec::new()).await.expect_err("a directory").to_string();
            assert!(error.contains("cannot be read at byte 0: Is a directory"), "{error}");
        })
        .unwrap();
    }
}
