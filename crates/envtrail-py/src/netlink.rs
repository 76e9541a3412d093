//! The netlink sockets as Python objects. `read` releases the GIL.

use envtrail_netlink::Mode;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::io;

fn closed() -> PyErr {
    PyValueError::new_err("the socket is closed")
}

macro_rules! socket_class {
    ($name:ident, $inner:ty, $doc:literal) => {
        #[doc = $doc]
        #[pyclass(module = "envtrail.core._core")]
        pub struct $name {
            inner: Option<$inner>,
        }

        impl $name {
            fn opened(&mut self) -> PyResult<&mut $inner> {
                self.inner.as_mut().ok_or_else(closed)
            }

            fn read_block<'py>(
                &mut self,
                py: Python<'py>,
                timeout_ms: i32,
            ) -> PyResult<Bound<'py, PyBytes>> {
                let socket = self.opened()?;
                let mut out = Vec::new();
                py.detach(|| socket.read(timeout_ms, &mut out))
                    .map_err(|error: io::Error| PyErr::from(error))?;
                Ok(PyBytes::new(py, &out))
            }
        }
    };
}

socket_class!(
    AuditSocket,
    envtrail_netlink::AuditSocket,
    "The kernel's audit records over netlink, rendered as lines."
);
socket_class!(
    ProcessConnector,
    envtrail_netlink::ProcessConnector,
    "Forks and exits of every process over netlink."
);

#[pymethods]
impl AuditSocket {
    #[new]
    #[pyo3(signature = (mode, *, receive_buffer_bytes = 16_777_216))]
    fn new(mode: &str, receive_buffer_bytes: usize) -> PyResult<Self> {
        let mode = match mode {
            "unicast" => Mode::Unicast,
            "multicast" => Mode::Multicast,
            other => {
                return Err(PyValueError::new_err(format!(
                    "mode must be unicast or multicast, not {other}"
                )))
            }
        };
        Ok(AuditSocket {
            inner: Some(envtrail_netlink::AuditSocket::open(
                mode,
                receive_buffer_bytes,
            )?),
        })
    }

    fn read<'py>(&mut self, py: Python<'py>, timeout_ms: i32) -> PyResult<Bound<'py, PyBytes>> {
        self.read_block(py, timeout_ms)
    }

    fn take_overruns(&mut self) -> PyResult<u64> {
        Ok(self.opened()?.take_overruns())
    }

    fn fileno(&mut self) -> PyResult<i32> {
        Ok(self.opened()?.descriptor())
    }

    fn close(&mut self) {
        self.inner = None;
    }
}

#[pymethods]
impl ProcessConnector {
    #[new]
    #[pyo3(signature = (*, receive_buffer_bytes = 16_777_216))]
    fn new(receive_buffer_bytes: usize) -> PyResult<Self> {
        Ok(ProcessConnector {
            inner: Some(envtrail_netlink::ProcessConnector::open(
                receive_buffer_bytes,
            )?),
        })
    }

    fn read<'py>(&mut self, py: Python<'py>, timeout_ms: i32) -> PyResult<Bound<'py, PyBytes>> {
        self.read_block(py, timeout_ms)
    }

    fn take_overruns(&mut self) -> PyResult<u64> {
        Ok(self.opened()?.take_overruns())
    }

    fn fileno(&mut self) -> PyResult<i32> {
        Ok(self.opened()?.descriptor())
    }

    fn close(&mut self) {
        self.inner = None;
    }
}
