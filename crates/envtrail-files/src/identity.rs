//! Which file a path leads to now.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Device, inode, and the nanosecond of its birth (0 where the file system keeps none): the number of an inode is used again at once. A link
/// at the end is not followed.
///
/// Reference: statx(2) (`STATX_BTIME`)
pub fn identity_of(path: &Path) -> io::Result<(u64, u64, u64)> {
    let status = path.symlink_metadata()?;
    let born = status.created().ok();
    let born = born.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let born_ns = born.and_then(|since| u64::try_from(since.as_nanos()).ok());
    Ok((status.dev(), status.ino(), born_ns.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_made_again_is_another() {
        let path = std::env::temp_dir().join(format!("identity-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let first = identity_of(&path).unwrap();
        std::fs::write(path.join("x"), "y").unwrap();
        assert_eq!(identity_of(&path).unwrap(), first);
        std::fs::remove_dir_all(&path).unwrap();
        assert!(identity_of(&path).is_err());
        std::fs::create_dir(&path).unwrap();
        assert_ne!(identity_of(&path).unwrap(), first);
        std::fs::remove_dir(&path).unwrap();
    }
}
