//! BPRM_FCAPS: the capabilities of a program that has others than its process had. Of most programs it says the same.
//!
//! Reference: `audit_log_exit()` in kernel/auditsc.c

use super::{Event, ExtraFields};
use crate::types;

/// The body of a record that says nothing but its fields, and these.
#[derive(Default)]
pub(super) struct Capabilities {
    body: Vec<u8>,
    /// None where it says something else, too.
    fields: Option<ExtraFields>,
}

impl Event {
    pub(super) fn read_capabilities(&mut self, body: &[u8]) {
        let repeated = self.repeated.get_or_insert_default();
        let known = &mut repeated.capabilities;
        if known.body != body {
            let mut alone = Event::default();
            alone.read_other(types::BPRM_FCAPS, body);
            known.body.clear();
            known.body.extend_from_slice(body);
            known.fields = alone.says_only_fields().then_some(alone.fields);
        }
        match &known.fields {
            Some(fields) if self.fields.is_apart(fields) => self.fields.append(fields),
            _ => self.read_other(types::BPRM_FCAPS, body),
        }
    }

    fn says_only_fields(&self) -> bool {
        !self.has_subject()
            && (self.pid, self.ppid, self.success) == (None, None, None)
            && self.address.is_none()
            && self.keys.is_empty()
    }
}
