//! The files of environments: their metadata, and whether they are as it says.

use envtrail_files::{hold, hold_folder, Expected, Links, Verdict};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::time::Duration;

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct DistInfo {
    name: String,
    version: String,
    license: Option<String>,
    requires: Vec<String>,
    tags: Vec<String>,
    installer: Option<String>,
    requested: Option<bool>,
    direct_url: Option<Py<PyBytes>>,
    record_sha256: Option<String>,
    content_sha256: Option<String>,
    size_bytes: Option<u64>,
    linked: bool,
}

/// Metadata of each folder below `prefix`, and the faults of its files.
#[pyfunction]
pub fn read_dist_infos(
    py: Python<'_>,
    prefix: PathBuf,
    folders: Vec<PathBuf>,
) -> PyResult<Vec<(Option<DistInfo>, Vec<String>)>> {
    let read = py.detach(|| envtrail_files::read_dist_infos(&prefix, &folders))?;
    let converted = |info: envtrail_files::DistInfo| DistInfo {
        name: info.name,
        version: info.version,
        license: info.license,
        requires: info.requires,
        tags: info.tags,
        installer: info.installer,
        requested: info.requested,
        direct_url: info.direct_url.map(|raw| PyBytes::new(py, &raw).unbind()),
        record_sha256: info.record_sha256,
        content_sha256: info.content_sha256,
        size_bytes: info.size_bytes,
        linked: info.linked,
    };
    Ok(read
        .into_iter()
        .map(|one| (one.info.map(converted), one.faults))
        .collect())
}

/// Which file a path leads to now: device, inode, and the nanosecond of its birth (0: unknown).
#[pyfunction]
pub fn identity_of(path: PathBuf) -> PyResult<(u64, u64, u64)> {
    Ok(envtrail_files::identity_of(&path)?)
}

/// A descriptor (`O_PATH`) of what lies below a folder, whose path is canonical; no link is followed.
#[pyfunction]
pub fn hold_below(py: Python<'_>, folder: PathBuf, below: PathBuf) -> PyResult<i32> {
    let held = py.detach(|| hold(&hold_folder(&folder)?, &below, Links::Refused))?;
    Ok(held.into_handle().into_raw_fd())
}

/// Reading at these places and the names below those folders are left, and nothing else; whether Landlock and seccomp hold.
#[pyfunction]
pub fn confine(
    py: Python<'_>,
    places: Vec<PathBuf>,
    listed: Vec<PathBuf>,
) -> PyResult<(bool, bool)> {
    let held = py.detach(|| envtrail_files::confine(&places, &listed))?;
    Ok((held.landlock, held.seccomp))
}

/// Keep these capabilities, as bits, and no others.
#[pyfunction]
pub fn keep_capabilities(bits: u64) -> PyResult<()> {
    Ok(envtrail_files::keep_capabilities(bits)?)
}

/// Whether permitted capabilities survive a change of the uid.
#[pyfunction]
pub fn hold_capabilities(held: bool) -> PyResult<()> {
    Ok(envtrail_files::hold_capabilities(held)?)
}

/// End with the process that started this one.
#[pyfunction]
pub fn end_with_parent() -> PyResult<()> {
    Ok(envtrail_files::end_with_parent()?)
}

/// The content digest of a RECORD, in hexadecimal.
#[pyfunction]
pub fn content_digest(py: Python<'_>, record: &[u8]) -> String {
    py.detach(|| envtrail_files::sum_record(record).content_sha256)
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct CheckedFile {
    verdict: &'static str,
    size: Option<u64>,
    sha256: Option<Py<PyBytes>>,
    changed_ms: Option<u64>,
    error: Option<String>,
}

/// A check of many files, in separate threads.
#[pyclass(module = "envtrail.core._core")]
pub struct FileCheck {
    inner: Option<envtrail_files::FileCheck>,
}

impl FileCheck {
    fn running(&self) -> PyResult<&envtrail_files::FileCheck> {
        self.inner
            .as_ref()
            .ok_or_else(|| PyValueError::new_err("the check is over"))
    }
}

#[pymethods]
impl FileCheck {
    #[new]
    #[pyo3(signature = (prefix, files, *, threads=0))]
    fn new(
        prefix: PathBuf,
        files: Vec<(PathBuf, Option<[u8; 32]>, Option<u64>)>,
        threads: usize,
    ) -> PyResult<Self> {
        let expected = files
            .into_iter()
            .map(|(below, sha256, size)| Expected {
                below,
                sha256,
                size,
            })
            .collect();
        Ok(FileCheck {
            inner: Some(envtrail_files::FileCheck::start(
                &prefix, expected, threads,
            )?),
        })
    }

    fn wait(&self, py: Python<'_>, limit_ms: u64) -> PyResult<bool> {
        let running = self.running()?;
        Ok(py.detach(|| running.wait(Duration::from_millis(limit_ms))))
    }

    fn progress(&self) -> PyResult<(u64, u64)> {
        Ok(self.running()?.progress())
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Vec<Option<CheckedFile>>> {
        let running = self
            .inner
            .take()
            .ok_or_else(|| PyValueError::new_err("the check is over"))?;
        let found = py.detach(|| running.finish());
        Ok(found
            .into_iter()
            .map(|one| {
                one.map(|found| CheckedFile {
                    verdict: match found.verdict {
                        Verdict::Same => "same",
                        Verdict::Changed => "changed",
                        Verdict::Missing => "missing",
                        Verdict::Unreadable => "unreadable",
                    },
                    size: found.size,
                    sha256: found.sha256.map(|raw| PyBytes::new(py, &raw).unbind()),
                    changed_ms: found.changed_ms,
                    error: found.error,
                })
            })
            .collect())
    }

    fn stop(&mut self, py: Python<'_>) {
        let running = self.inner.take();
        py.detach(|| drop(running));
    }
}
