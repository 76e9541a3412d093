//! What an installed distribution says of itself.
//!
//! Reference: https://packaging.python.org/en/latest/specifications/recording-installed-packages/

use crate::open::{hold, hold_folder, Held, Links};
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const HEADER_BYTES: u64 = 64 << 10;
const INSTALLER_BYTES: u64 = 200;
/// No installer writes a kilobyte; each is kept with every snapshot.
const DOCUMENT_BYTES: u64 = 16 << 10;
/// The RECORD of the largest packages has a few megabytes.
const RECORD_BYTES: u64 = 16 << 20;
/// Of all that is read at once: an environment of a thousand packages has a tenth of it.
const TOTAL_BYTES: u64 = 128 << 20;
const NAME_BYTES: usize = 250;
/// Fewer folders than this are read by one thread.
const FEW: usize = 64;

/// One `*.dist-info` folder. Text that is not UTF-8 is shown with `\xNN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistInfo {
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    pub requires: Vec<String>,
    pub tags: Vec<String>,
    pub installer: Option<String>,
    /// Whether REQUESTED is there; null where the installer does not write it.
    pub requested: Option<bool>,
    pub direct_url: Option<Vec<u8>>,
    /// SHA-256 over the lines of RECORD in order of path, without bytecode and what the installer adds: in hexadecimal.
    pub record_sha256: Option<String>,
    /// SHA-256 over path and hash of the wheel's own files: the same in the wheel and wherever it is installed.
    pub content_sha256: Option<String>,
    /// The sum of RECORD's third column.
    pub size_bytes: Option<u64>,
    /// METADATA, or the folder, is a symbolic link, which is not followed: name and version are those of the folder's own name.
    pub linked: bool,
}

/// What a RECORD comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSums {
    pub record_sha256: String,
    pub content_sha256: String,
    pub size_bytes: u64,
}

/// The result for one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Null where METADATA has no name and version.
    pub info: Option<DistInfo>,
    /// Files that are there and were not read, each with the reason.
    pub faults: Vec<String>,
}

/// The `*.dist-info` folders below an environment, in the order given.
///
/// `prefix` is canonical; `folders` are relative to it.
pub fn read_dist_infos(prefix: &Path, folders: &[PathBuf]) -> io::Result<Vec<Read>> {
    let root = hold_folder(prefix)?;
    let left = AtomicU64::new(TOTAL_BYTES);
    let read = |part: &[PathBuf]| -> Vec<Read> {
        part.iter()
            .map(|folder| read_dist_info(&root, folder, &left))
            .collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if folders.len() < FEW || threads == 1 {
        return Ok(read(folders));
    }
    let part = folders.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let parts: Vec<_> = folders
            .chunks(part)
            .map(|part| scope.spawn(|| read(part)))
            .collect();
        let mut all = Vec::with_capacity(folders.len());
        for part in parts {
            all.extend(
                part.join()
                    .map_err(|_| io::Error::other("a thread ended"))?,
            );
        }
        Ok(all)
    })
}

/// The files of one `*.dist-info` folder.
struct Folder<'a> {
    held: Held,
    left: &'a AtomicU64,
    faults: Vec<String>,
    /// Links are no faults of its files one by one.
    linked: bool,
}

impl Folder<'_> {
    /// Its content; none where it is not there, or may not be read: that is a fault.
    fn read(&mut self, name: &str, read: impl Fn(&Held) -> io::Result<Vec<u8>>) -> Option<Vec<u8>> {
        let held = self.hold(name)?;
        if self.linked && held.as_ref().is_ok_and(|held| held.status.is_symlink()) {
            return None;
        }
        match held.and_then(|held| {
            self.spend(&held)?;
            read(&held)
        }) {
            Ok(content) => Some(content),
            Err(error) => {
                self.faults.push(format!("{name}: {error}"));
                None
            }
        }
    }

    fn hold(&self, name: &str) -> Option<io::Result<Held>> {
        match hold(&self.held, Path::new(name), Links::Refused) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            held => Some(held),
        }
    }

    /// What is read is counted before it is read, at most as much as any file may have.
    fn spend(&self, held: &Held) -> io::Result<()> {
        let size = held.status.len().min(RECORD_BYTES);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(size)
            })
            .map(|_| ())
            .map_err(|_| io::Error::other("the metadata of this environment is larger than any is"))
    }
}

fn read_dist_info(root: &Held, path: &Path, left: &AtomicU64) -> Read {
    let held = match hold(root, path, Links::Refused) {
        Ok(held) => held,
        Err(error) => {
            return Read {
                info: None,
                faults: vec![error.to_string()],
            }
        }
    };
    if held.status.is_symlink() {
        let info = named_by(path);
        let why = || "a symbolic link, which is not followed".to_owned();
        let faults = info.is_none().then(why).into_iter().collect();
        return Read { info, faults };
    }
    let mut folder = Folder {
        held,
        left,
        faults: Vec::new(),
        linked: false,
    };
    let info = read_files(&mut folder, path);
    Read {
        info,
        faults: folder.faults,
    }
}

/// What the name of a folder says: `NAME-VERSION.dist-info`.
fn named_by(path: &Path) -> Option<DistInfo> {
    let name = path.file_name()?.as_encoded_bytes();
    let stem = name.strip_suffix(b".dist-info")?;
    let at = stem.iter().rposition(|byte| *byte == b'-')?;
    let info = DistInfo {
        name: text(stem.get(..at)?),
        version: text(stem.get(at + 1..)?),
        linked: true,
        ..DistInfo::default()
    };
    is_named(&info).then_some(info)
}

fn is_named(info: &DistInfo) -> bool {
    [&info.name, &info.version]
        .iter()
        .all(|text| !text.is_empty() && text.len() <= NAME_BYTES)
}

/// What METADATA says.
fn described_by(metadata: &[u8]) -> Option<DistInfo> {
    let mut info = DistInfo::default();
    let mut expression = None;
    for (key, value) in header(metadata) {
        match key.to_ascii_lowercase().as_slice() {
            b"name" if info.name.is_empty() => info.name = text(value),
            b"version" if info.version.is_empty() => info.version = text(value),
            b"license" if info.license.is_none() => info.license = Some(text(value)),
            b"license-expression" if expression.is_none() => expression = Some(text(value)),
            b"requires-dist" => info.requires.push(text(value)),
            _ => {}
        }
    }
    info.license = expression.or(info.license);
    is_named(&info).then_some(info)
}

fn read_files(folder: &mut Folder<'_>, path: &Path) -> Option<DistInfo> {
    let head = |held: &Held| held.read_head(HEADER_BYTES);
    let is_link = |held: io::Result<Held>| held.is_ok_and(|held| held.status.is_symlink());
    folder.linked = folder.hold("METADATA").is_some_and(is_link);
    let mut info = if folder.linked {
        named_by(path)?
    } else {
        described_by(&folder.read("METADATA", head)?)?
    };
    if let Some(wheel) = folder.read("WHEEL", head) {
        let tags = header(&wheel).filter(|(key, _)| key.eq_ignore_ascii_case(b"tag"));
        info.tags = tags.map(|(_, value)| text(value)).collect();
    }
    let installer = folder
        .read("INSTALLER", |held| held.read_head(INSTALLER_BYTES))
        .map(|raw| text(raw.trim_ascii()))
        .filter(|name| !name.is_empty());
    let tool = installer.as_deref().and_then(|name| name.split(' ').next());
    if matches!(tool, Some("pip" | "uv" | "conda")) {
        info.requested = Some(folder.hold("REQUESTED").is_some());
    }
    info.installer = installer;
    info.direct_url = folder.read("direct_url.json", |held| held.read(DOCUMENT_BYTES));
    if let Some(record) = folder.read("RECORD", |held| held.read(RECORD_BYTES)) {
        let sums = sum_record(&record);
        info.record_sha256 = Some(sums.record_sha256);
        info.content_sha256 = Some(sums.content_sha256);
        info.size_bytes = Some(sums.size_bytes);
    }
    Some(info)
}

/// Keys and values up to the empty line. A folded line's continuation is passed over.
fn header(content: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    content
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with(b" ") && !line.starts_with(b"\t"))
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let value = line.get(colon + 1..)?.trim_ascii();
            (!value.is_empty()).then_some((line.get(..colon)?, value))
        })
}

/// The digests and the size that a RECORD lists; lines in any order, ended in any way.
pub fn sum_record(record: &[u8]) -> RecordSums {
    let mut size = 0u64;
    let mut own: Vec<&[u8]> = Vec::new();
    let mut content: Vec<Vec<u8>> = Vec::new();
    for line in record
        .split(|byte| *byte == b'\n' || *byte == b'\r')
        .filter(|line| !line.is_empty())
    {
        let comma = line.iter().rposition(|byte| *byte == b',');
        let column = line.get(comma.map_or(0, |at| at + 1)..).unwrap_or_default();
        size = size.saturating_add(number(column.trim_ascii()).unwrap_or(0));
        if contains(line, b".pyc,") {
            continue;
        }
        if !contains(line, b"/INSTALLER,") && !contains(line, b"/REQUESTED,") {
            own.push(line);
        }
        if let Some(kept) = content_of(line.get(..comma.unwrap_or(0)).unwrap_or_default(), line) {
            content.push(kept);
        }
    }
    own.sort_unstable();
    content.sort_unstable();
    RecordSums {
        record_sha256: digest(own.iter().copied()),
        content_sha256: digest(content.iter().map(Vec::as_slice)),
        size_bytes: size,
    }
}

/// What installers add to a wheel's own metadata.
const MADE: [&[u8]; 6] = [
    b".dist-info/INSTALLER,",
    b".dist-info/REQUESTED,",
    b".dist-info/RECORD,",
    b".dist-info/direct_url.json,",
    b".dist-info/uv_cache.json,",
    b".dist-info/uv_build.json,",
];

/// Path and hash of a wheel's own file beside its modules. Scripts, data and headers are left out: their places, and the scripts' first
/// lines, depend on the prefix; what a wheel holds in `NAME.data/purelib` lies beside the modules once it is installed.
fn content_of(path_and_hash: &[u8], line: &[u8]) -> Option<Vec<u8>> {
    if MADE.iter().any(|name| contains(line, name)) {
        return None;
    }
    let (quote, bare) = match path_and_hash {
        [b'"', rest @ ..] => (&b"\""[..], rest),
        whole => (&b""[..], whole),
    };
    let below_data = bare
        .iter()
        .position(|byte| matches!(byte, b'/' | b','))
        .filter(|at| bare.get(*at) == Some(&b'/'))
        .and_then(|at| Some((bare.get(..at)?, bare.get(at + 1..)?)))
        .filter(|(folder, _)| folder.len() > 5 && folder.ends_with(b".data"))
        .map(|(_, rest)| rest);
    let kept = match below_data {
        Some(rest) => rest
            .strip_prefix(b"purelib/")
            .or_else(|| rest.strip_prefix(b"platlib/"))?,
        None => bare,
    };
    let is_elsewhere = kept.starts_with(b"../") || kept.starts_with(b"/");
    (!is_elsewhere).then(|| [quote, kept].concat())
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

fn digest<'a>(lines: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for (at, line) in lines.enumerate() {
        if at > 0 {
            hasher.update(b"\n");
        }
        hasher.update(line);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// As Python's `backslashreplace` shows it.
fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_at_the_empty_line_and_folded_lines_are_passed_over() {
        let content =
            b"Name: a\r\nLicense: BSD\n  more: of it\nEmpty:\nRequires-Dist: x>1\n\nVersion: 9\n";
        let found: Vec<_> = header(content)
            .map(|(key, value)| (text(key), text(value)))
            .collect();
        let wanted = [("Name", "a"), ("License", "BSD"), ("Requires-Dist", "x>1")];
        assert_eq!(
            found,
            wanted.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn the_digest_of_a_record_is_of_what_was_installed_in_any_order() {
        let one = sum_record(b"a.py,sha256=x,3\nb.py,sha256=y,4\na-1.dist-info/RECORD,,\n");
        let other = sum_record(b"b.py,sha256=y,4\r\na-1.dist-info/INSTALLER,sha256=z,4\n__pycache__/a.pyc,,\na.py,sha256=x,3\na-1.dist-info/RECORD,,\n");
        assert_eq!(one.record_sha256, other.record_sha256);
        assert_eq!((one.size_bytes, other.size_bytes), (7, 11));
    }

    #[test]
    fn the_content_is_the_same_in_the_wheel_and_in_a_prefix() {
        let wheel = sum_record(b"a.py,sha256=x,3\na-1.data/purelib/b.py,sha256=y,4\na-1.data/scripts/s,sha256=z,9\na-1.dist-info/WHEEL,sha256=w,1\na-1.dist-info/RECORD,,\n");
        let installed = sum_record(b"../../../bin/s,sha256=q,11\na-1.dist-info/INSTALLER,sha256=i,4\na-1.dist-info/RECORD,,\na-1.dist-info/WHEEL,sha256=w,1\na-1.dist-info/direct_url.json,sha256=d,9\na.py,sha256=x,3\nb.py,sha256=y,4\n__pycache__/a.cpython-311.pyc,,\n");
        assert_eq!(wheel.content_sha256, installed.content_sha256);
        let other =
            sum_record(b"a.py,sha256=CHANGED,3\nb.py,sha256=y,4\na-1.dist-info/WHEEL,sha256=w,1\n");
        assert_ne!(wheel.content_sha256, other.content_sha256);
    }

    #[test]
    fn hostile_bytes_are_shown() {
        assert_eq!(text(b"caf\xc3\xa9\xff\xfe"), "caf\u{e9}\\xff\\xfe");
        assert_eq!(number(b"99999999999999999999999"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(content: Vec<u8>, cut in 0usize..64) {
            let sums = sum_record(&content);
            assert_eq!(sums, sum_record(&content));
            assert!(header(&content).count() <= content.len());
            assert!(text(&content).len() >= content.iter().filter(|byte| byte.is_ascii()).count());
            let piece = content.get(..cut.min(content.len())).unwrap_or_default();
            assert!(sum_record(piece).record_sha256.len() == 64);
        }

        #[test]
        fn the_order_of_lines_is_nothing(mut lines in proptest::collection::vec("[a-z/.,\"]{0,12}", 0..8)) {
            let one = sum_record(lines.join("\n").as_bytes());
            lines.reverse();
            assert_eq!(one, sum_record(lines.join("\r\n").as_bytes()));
        }
    }
}
