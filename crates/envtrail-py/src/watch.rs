//! Changes of files and starts of programs, as their threads saw them.

use envtrail_core::files;
use envtrail_netlink::Seen;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::collections::{BTreeMap, HashSet};

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct FileGroup {
    time_ms: u64,
    until_ms: u64,
    pid: u32,
    root: String,
    files: Vec<(String, &'static str)>,
    total: u64,
    gone: bool,
    exe: Option<String>,
    comm: Option<String>,
    argv: Option<Vec<String>>,
    ppid: Option<u32>,
    uid: Option<u32>,
    auid: Option<u32>,
    ses: Option<u32>,
    started_ms: Option<u64>,
    argv_cut: bool,
    names: BTreeMap<String, String>,
    events: Vec<(u64, u64, u64)>,
    marked: bool,
    metadata: Vec<(String, &'static str, u64)>,
    recorded: Option<Py<RecordedFiles>>,
}

/// What a log says by itself of a group.
#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct RecordedFiles {
    node: String,
    kind: &'static str,
    images: Vec<u64>,
    hint: Option<String>,
    exec: Option<(u64, u64, u64)>,
    end: Option<(u64, Option<i32>, Option<i32>)>,
}

fn place_of(event: files::EventPlace) -> (u64, u64, u64) {
    (event.segment, event.time_ms, event.serial)
}

impl From<files::Recorded> for RecordedFiles {
    fn from(recorded: files::Recorded) -> Self {
        RecordedFiles {
            node: recorded.node,
            kind: recorded.kind,
            images: recorded.images,
            hint: recorded.hint,
            exec: recorded.exec.map(place_of),
            end: recorded.end,
        }
    }
}

impl FileGroup {
    /// # Errors
    /// No memory.
    pub fn new(py: Python<'_>, mut group: files::FileGroup) -> PyResult<Self> {
        let recorded = group.recorded.take().map(RecordedFiles::from);
        let recorded = recorded.map(|recorded| Py::new(py, recorded)).transpose()?;
        Ok(FileGroup {
            recorded,
            ..FileGroup::from(group)
        })
    }
}

impl From<files::FileGroup> for FileGroup {
    fn from(group: files::FileGroup) -> Self {
        let who = group.who;
        let named = |(path, what): (String, files::What)| (path, what.as_str());
        let timed = |(path, what, at): (String, files::What, u64)| (path, what.as_str(), at);
        FileGroup {
            time_ms: group.time_ms,
            until_ms: group.until_ms,
            pid: group.pid,
            root: group.root,
            files: group.files.into_iter().map(named).collect(),
            total: group.total,
            gone: group.gone,
            exe: who.exe,
            comm: who.comm,
            argv: who.argv,
            ppid: who.ppid,
            uid: who.uid,
            auid: who.auid,
            ses: who.ses,
            started_ms: who.started_ms,
            argv_cut: who.is_argv_cut,
            names: who.names.into_iter().collect(),
            events: group.events.into_iter().map(place_of).collect(),
            marked: group.is_marked,
            metadata: group.metadata.into_iter().map(timed).collect(),
            recorded: None,
        }
    }
}

/// Changes of files below watched folders, by fanotify; a thread looks up at once who it was.
#[pyclass(module = "envtrail.core._core")]
pub struct FileWatch {
    inner: Option<envtrail_netlink::FileWatch>,
}

impl FileWatch {
    fn opened(&mut self) -> PyResult<&mut envtrail_netlink::FileWatch> {
        self.inner
            .as_mut()
            .ok_or_else(|| PyValueError::new_err("the watch is closed"))
    }
}

#[pymethods]
impl FileWatch {
    #[new]
    fn new(roots: Vec<String>) -> PyResult<Self> {
        Ok(FileWatch {
            inner: Some(envtrail_netlink::FileWatch::open(roots)?),
        })
    }

    fn set_roots(&mut self, roots: Vec<String>) -> PyResult<()> {
        self.opened()?.set_roots(roots);
        Ok(())
    }

    fn read(&mut self) -> PyResult<Vec<FileGroup>> {
        let groups = self.opened()?.read();
        Ok(groups.into_iter().map(FileGroup::from).collect())
    }

    fn take_overflows(&mut self) -> PyResult<u64> {
        Ok(self.opened()?.take_overflows())
    }

    fn unwatched(&mut self) -> PyResult<Vec<String>> {
        Ok(self.opened()?.unwatched())
    }

    fn fileno(&mut self) -> PyResult<i32> {
        Ok(self.opened()?.descriptor())
    }

    fn close(&mut self, py: Python<'_>) {
        let inner = self.inner.take();
        py.detach(|| drop(inner));
    }
}

#[pyclass(frozen, get_all, module = "envtrail.core._core")]
pub struct SeenProcess {
    time_ms: u64,
    pid: u32,
    ppid: Option<u32>,
    exe: Option<String>,
    argv: Option<Vec<String>>,
    cwd: Option<String>,
    uid: Option<u32>,
    auid: Option<u32>,
    ses: Option<u32>,
    started_ms: Option<u64>,
    cgroup: Option<String>,
    uid_map: Option<String>,
    variables: BTreeMap<String, String>,
}

impl From<Seen> for SeenProcess {
    fn from(seen: Seen) -> Self {
        SeenProcess {
            time_ms: seen.time_ms,
            pid: seen.pid,
            ppid: seen.who.ppid,
            exe: seen.who.exe,
            argv: seen.who.argv,
            cwd: seen.cwd,
            uid: seen.who.uid,
            auid: seen.who.auid,
            ses: seen.who.ses,
            started_ms: seen.who.started_ms,
            cgroup: seen.cgroup,
            uid_map: seen.uid_map,
            variables: seen.variables.into_iter().collect(),
        }
    }
}

/// A process as it is now; None when it is gone.
#[pyfunction]
pub fn see_process(py: Python<'_>, pid: u32, variables: HashSet<String>) -> Option<SeenProcess> {
    py.detach(|| envtrail_netlink::see(pid, &variables))
        .map(Into::into)
}

/// What programs were given at their start; a thread reads it the moment the kernel reports the exec.
#[pyclass(module = "envtrail.core._core")]
pub struct ExecWatch {
    inner: Option<envtrail_netlink::ExecWatch>,
}

#[pymethods]
impl ExecWatch {
    #[new]
    fn new(programs: Vec<String>, variables: Vec<String>) -> PyResult<Self> {
        Ok(ExecWatch {
            inner: Some(envtrail_netlink::ExecWatch::open(programs, variables)?),
        })
    }

    fn find(&self, pid: u32, time_ms: u64) -> Option<SeenProcess> {
        self.inner.as_ref()?.find(pid, time_ms).map(Into::into)
    }

    fn close(&mut self, py: Python<'_>) {
        let inner = self.inner.take();
        py.detach(|| drop(inner));
    }
}
