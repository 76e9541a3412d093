//! Names of record types.

use crate::builders::Word;
use crate::coalesce::Gathered;
use crate::types;

/// Names of record types that this build does not know, as they were read.
#[derive(Default)]
pub(super) struct TypeNames {
    unnamed: Vec<String>,
}

/// Most such names; whatever comes after has none (its record has).
const MAX_UNNAMED: usize = 1024;

impl TypeNames {
    pub(super) fn word_of(&mut self, number: u16, gathered: &Gathered) -> Word<'_> {
        if let Some(text) = types::known_name(number) {
            return Word {
                number: u32::from(number),
                text,
            };
        }
        let name = unnamed_type(gathered, number);
        let known = self.unnamed.iter().position(|known| *known == name);
        let at = known.unwrap_or(self.unnamed.len());
        if at == self.unnamed.len() && at < MAX_UNNAMED {
            self.unnamed.push(name);
        }
        Word {
            number: u32::from(u16::MAX) + 1 + at as u32,
            text: self.unnamed.get(at).map_or("", String::as_str),
        }
    }
}

fn unnamed_type(gathered: &Gathered, number: u16) -> String {
    if number != types::UNNAMED {
        return types::record_type_name(number);
    }
    let line = gathered.records.first().and_then(|record| {
        gathered
            .bytes
            .get(record.start as usize..record.body as usize)
    });
    let text = String::from_utf8_lossy(line.unwrap_or_default());
    text.split("type=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap_or_default()
        .to_owned()
}
