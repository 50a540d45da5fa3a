//! The control thread's runtime, and files by it: `tokio-uring` where rings may be made, else an ordinary runtime whose pool of
//! threads does what would block.
//!
//! Without: what the files hold. Tasks are spawned by `tokio::task::spawn_local` on either.
//!
//! Invariant: files are opened on a runtime that [`start`] started, and it says how they are read and written. A file's
//! operation that is dropped before its end goes on, and its bytes stay whole.

use std::cell::Cell;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use tokio::task::{LocalSet, spawn_blocking};

/// How files are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// By a ring of the control thread.
    Ring,
    /// By the runtime's pool of threads.
    Pool,
}

thread_local! {
    /// Of the runtime that runs on this thread.
    static DISK: Cell<Option<Disk>> = const { Cell::new(None) };
}

/// Runs a future, and what it spawns, on this thread until it ends.
///
/// # Errors
/// Where the runtime cannot be made.
pub fn start<F: Future>(disk: Disk, future: F) -> io::Result<F::Output> {
    let within = async {
        DISK.set(Some(disk));
        let output = future.await;
        DISK.set(None);
        output
    };
    Ok(match disk {
        Disk::Ring => tokio_uring::Runtime::new(&tokio_uring::builder())?.block_on(within),
        Disk::Pool => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, within)
        }
    })
}

/// An open file, or a directory that is to be synced.
#[derive(Clone, Debug)]
pub struct File(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Ring(std::rc::Rc<tokio_uring::fs::File>),
    Pool(Arc<std::fs::File>),
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading what is there.
    Read,
    /// Writing over what is there.
    Overwrite,
    /// Writing to what is there or is made.
    Write,
    /// Writing to what must not be there yet.
    New,
}

impl File {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Panics
    /// Outside of [`start`].
    pub async fn open(path: &Path, access: Access) -> io::Result<File> {
        let (read, new) = (access == Access::Read, access == Access::New);
        let (write, create) = (!read, matches!(access, Access::Write | Access::New));
        let inner = match DISK.get().expect("files are opened on the control thread's runtime") {
            Disk::Ring => {
                let mut options = tokio_uring::fs::OpenOptions::new();
                let options = options.read(read).write(write).create(create).create_new(new);
                Inner::Ring(options.open(path).await?.into())
            }
            Disk::Pool => {
                let mut options = std::fs::OpenOptions::new();
                options.read(read).write(write).create(create).truncate(false).create_new(new);
                let path = path.to_owned();
                Inner::Pool(on_the_pool(move || options.open(path)).await?.into())
            }
        };
        Ok(File(inner))
    }

    /// Writes all of `bytes` from `at` on, and gives them back.
    pub async fn write_all_at(&self, bytes: Vec<u8>, at: u64) -> (io::Result<()>, Vec<u8>) {
        match &self.0 {
            Inner::Ring(file) => file.write_all_at(bytes, at).await,
            Inner::Pool(file) => {
                let file = file.clone();
                on_the_pool(move || (file.write_all_at(&bytes, at), bytes)).await
            }
        }
    }

    /// Fills `bytes` from its beginning with what lies from `at` on, at most as much as it has room for; none at the end. Gives
    /// it back.
    pub async fn read_at(&self, mut bytes: Vec<u8>, at: u64) -> (io::Result<usize>, Vec<u8>) {
        bytes.clear();
        match &self.0 {
            Inner::Ring(file) => file.read_at(bytes, at).await,
            Inner::Pool(file) => {
                let file = file.clone();
                on_the_pool(move || {
                    bytes.resize(bytes.capacity(), 0);
                    let result = file.read_at(&mut bytes, at);
                    bytes.truncate(*result.as_ref().unwrap_or(&0));
                    (result, bytes)
                })
                .await
            }
        }
    }

    /// Has its bytes, and what is needed to find them, on disk.
    ///
    /// # Errors
    /// What the system says: nobody knows then what is on disk.
    pub async fn sync_data(&self) -> io::Result<()> {
        match &self.0 {
            Inner::Ring(file) => file.sync_data().await,
            Inner::Pool(file) => {
                let file = file.clone();
                on_the_pool(move || file.sync_data()).await
            }
        }
    }

    /// Has all of it on disk.
    ///
    /// # Errors
    /// What the system says: nobody knows then what is on disk.
    pub async fn sync_all(&self) -> io::Result<()> {
        match &self.0 {
            Inner::Ring(file) => file.sync_all().await,
            Inner::Pool(file) => {
                let file = file.clone();
                on_the_pool(move || file.sync_all()).await
            }
        }
    }

    /// Whether both are the same opened file.
    #[must_use]
    pub fn is_same(&self, other: &File) -> bool {
        match (&self.0, &other.0) {
            (Inner::Ring(one), Inner::Ring(other)) => std::rc::Rc::ptr_eq(one, other),
            (Inner::Pool(one), Inner::Pool(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

async fn on_the_pool<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("a panic ends the process before it gets here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_either_way() {
        for disk in [Disk::Ring, Disk::Pool] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            start(disk, async {
                for access in [Access::Read, Access::Overwrite] {
                    assert_eq!(File::open(&path, access).await.unwrap_err().kind(), io::ErrorKind::NotFound);
                }
                let file = File::open(&path, Access::New).await.unwrap();
                assert_eq!(File::open(&path, Access::New).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
                let (result, bytes) = file.write_all_at(b"0123456789".to_vec(), 0).await;
                assert_eq!((result.unwrap(), &bytes[..]), ((), &b"0123456789"[..]));
                let again = File::open(&path, Access::Write).await.unwrap();
                again.write_all_at(b"xxx".to_vec(), 8).await.0.unwrap();
                let again = File::open(&path, Access::Overwrite).await.unwrap();
                again.write_all_at(b"abc".to_vec(), 8).await.0.unwrap();
                assert!(!again.is_same(&file) && file.clone().is_same(&file));
                let read = File::open(&path, Access::Read).await.unwrap();
                for (at, wanted) in [(0, "0123"), (6, "67ab"), (9, "bc"), (11, "")] {
                    // What was in it before counts for nothing.
                    let mut bytes = Vec::with_capacity(4);
                    bytes.extend(b"zz");
                    let (result, bytes) = read.read_at(bytes, at).await;
                    assert_eq!((result.unwrap(), &bytes[..]), (wanted.len(), wanted.as_bytes()), "{disk:?} at {at}");
                }
                file.sync_data().await.unwrap();
                file.sync_all().await.unwrap();
                File::open(directory.path(), Access::Read).await.unwrap().sync_all().await.unwrap();
                assert!(read.write_all_at(b"x".to_vec(), 0).await.0.is_err(), "it was opened for reading");
            })
            .unwrap();
        }
    }

    #[test]
    fn tasks_run_beside_each_other_either_way() {
        for disk in [Disk::Ring, Disk::Pool] {
            let told = start(disk, async {
                let (tell, told) = tokio::sync::oneshot::channel();
                tokio::task::spawn_local(async move { tell.send(std::thread::current().id()) });
                told.await.unwrap()
            });
            assert_eq!(told.unwrap(), std::thread::current().id());
        }
    }
}
