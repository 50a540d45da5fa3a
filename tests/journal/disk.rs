//! A block device of its own: what is in its image was written back, and nothing else. A copy of the image is the disk after
//! the machine lost its power. Needs a loop device and `mkfs.ext4`, so it is left out where this user cannot have them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system on an image; unmounted when dropped.
pub(crate) struct Disk {
    image: PathBuf,
    mounted: PathBuf,
    /// Where both are; the copies of this disk, too.
    directory: Option<TempDir>,
}

impl Disk {
    /// A new one, if there can be one here.
    pub(crate) fn mount() -> Option<Disk> {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let image = directory.path().join("disk");
        fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image can be made");
        // Nothing but what is synced changes the image: no table is filled in later, and no commit is due by itself.
        let made =
            Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&image).output();
        let disk = made.is_ok_and(|made| made.status.success()).then(|| Disk::of_image(image)).flatten();
        let Some(mut disk) = disk else {
            eprintln!("left out: a file system on a loop device cannot be had here (that takes root and mkfs.ext4)");
            return None;
        };
        disk.directory = Some(directory);
        fs::write(disk.path().join("unsynced"), b"1").expect("there is room");
        if disk.without_power("unsynced").path().join("unsynced").exists() {
            eprintln!("left out: this file system writes back what nobody synced");
            return None;
        }
        Some(disk)
    }

    fn of_image(image: PathBuf) -> Option<Disk> {
        let mounted = image.with_extension("mounted");
        fs::create_dir(&mounted).expect("a directory can be made");
        let result = Command::new("mount").args(["-t", "ext4", "-o", "loop,commit=300"]).args([&image, &mounted]).output();
        result.is_ok_and(|result| result.status.success()).then_some(Disk { image, mounted, directory: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }

    /// As it would be after the power went now. For when nobody writes to it.
    pub(crate) fn without_power(&self, name: &str) -> Disk {
        let image = self.image.with_file_name(name);
        fs::copy(&self.image, &image).expect("there is room for a copy");
        Disk::of_image(image).expect("a disk that lost its power can be mounted")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.mounted).output().ok();
        // Only then is it no mount point that its directory holds.
        drop(self.directory.take());
    }
}
