//! What the process tables of one segment hand to those of the next.

use super::{Log, Tables, LOGS, NAMED, OWN};
use crate::process::ProcessTable;
use serde::{Deserialize, Serialize};

/// What one segment hands to the next.
#[derive(Serialize, Deserialize)]
struct Carried<T> {
    /// Labels of the hints that the images name by number.
    hints: Vec<String>,
    is_import: bool,
    #[serde(default)]
    reading: u32,
    own: Option<T>,
    /// Version 1: of the log that was imported last.
    #[serde(default)]
    imported: Option<T>,
    named: Vec<(String, T)>,
    /// The one that was read last is the last.
    #[serde(default)]
    logs: Vec<CarriedLog<T>>,
}

#[derive(Serialize, Deserialize)]
struct CarriedLog<T> {
    name: String,
    table: Option<T>,
}

impl Tables {
    /// The tables as text (JSON), for the next segment.
    ///
    /// # Errors
    /// A table cannot be written as JSON: none is known.
    pub(in crate::assembler) fn save(
        &self,
        hints: Vec<String>,
        name_of: impl Fn(u32) -> String,
    ) -> Result<String, serde_json::Error> {
        let named = self.in_order().into_iter();
        let mut logs: Vec<(usize, &Log)> = (0..).zip(&self.logs).collect();
        logs.sort_unstable_by_key(|(_, log)| log.turn);
        let carried = |(at, log): (usize, &Log)| CarriedLog {
            name: log.name.clone(),
            table: self.tables.get(LOGS + at),
        };
        serde_json::to_string(&Carried {
            hints,
            is_import: self.is_import(),
            reading: self.reading,
            own: self.tables.get(OWN),
            imported: None,
            named: named
                .filter_map(|at| Some((name_of((at - NAMED) as u32), self.tables.get(at)?)))
                .collect(),
            logs: logs.into_iter().map(carried).collect(),
        })
    }

    /// Take up what a segment before handed on. `log`: that was imported last, where it says so beside.
    ///
    /// # Errors
    /// It is not what `save` gives.
    pub(in crate::assembler) fn restore(
        &mut self,
        text: &str,
        log: Option<&str>,
        hint_of: impl Fn(&str) -> Option<u16>,
        mut number_of: impl FnMut(&str) -> Option<u32>,
    ) -> Result<(), serde_json::Error> {
        let carried: Carried<ProcessTable> = serde_json::from_str(text)?;
        (self.tables, self.used, self.holders) = Default::default();
        (self.logs, self.log) = Default::default();
        for (name, table) in carried.named {
            if let Some(number) = number_of(&name) {
                let at = NAMED + number as usize;
                *self.at_named(at) = table;
            }
        }
        self.set_shares();
        if let Some(table) = carried.own {
            *self.at(OWN) = table;
        }
        let first = carried.imported.map(|table| CarriedLog {
            name: log.unwrap_or_default().to_owned(),
            table: Some(table),
        });
        for one in first.into_iter().chain(carried.logs) {
            self.turn_to(Some(&one.name));
            let at = self.log.unwrap_or_default();
            match one.table {
                Some(table) => *self.at(LOGS + at) = table,
                None => self.tables.remove(LOGS + at),
            }
        }
        self.log = self.log.filter(|_| carried.is_import);
        self.reading = carried.reading;
        let labels = carried.hints;
        for (_, table) in self.tables.iter_mut() {
            table.renumber_hints(|hint| hint_of(labels.get(hint as usize)?));
        }
        for (at, table) in self.tables.iter().filter(|(at, _)| *at != OWN) {
            self.holders.extend(table.ids().map(|image| (image, at)));
        }
        Ok(())
    }
}
