//! System calls of every architecture of the audit interface: names, numbers, and which of them begin or end a program.
//!
//! References: include/uapi/linux/audit.h (AUDIT_ARCH_*); arch/x86/include/uapi/asm/unistd.h (`__X32_SYSCALL_BIT`);
//! arch/arm/include/uapi/asm/unistd.h (`__NR_OABI_SYSCALL_BASE`, `__ARM_NR_BASE`).

#[rustfmt::skip]
mod table;

use table::{ARCHITECTURES, ARM_PRIVATE_CELL, BASES, CALLS, COLUMNS, NONE, WIDTH, X32};

pub const X86_64: u32 = 0xc000_003e;
const AARCH64: u32 = 0xc000_00b7;
const X86_64_COLUMN: usize = find_column(X86_64);
const AARCH64_COLUMN: usize = find_column(AARCH64);
const X32_BIT: u32 = 0x4000_0000;
const ARM: [u32; 2] = [0x4000_0028, 0x28];
const ARM_OLD_BASE: u32 = 0x90_0000;
const ARM_PRIVATE: u32 = 0xf_0000;

/// What a system call does to the image of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It begins a program.
    Exec,
    /// It ends the process. `exit` is none: it ends a thread, and its record names the whole process.
    Exit,
    Other,
}

static NAMES: [&str; CALLS.len()] = names();
/// For each column, the place in `NAMES` of each number above the base.
static CELLS: [[u16; WIDTH]; COLUMNS] = cells();
const EXECS: [[u16; COLUMNS]; 3] = [row_of("execve"), row_of("execveat"), row_of("execv")];
const EXIT: [u16; COLUMNS] = row_of("exit_group");

/// Name of a system call by audit architecture and number; None when it is not in the table.
#[inline]
pub fn name(arch: u32, number: u32) -> Option<&'static str> {
    let (column, number) = place_of(arch, number)?;
    let in_column = |column: usize| {
        let cell = number.checked_sub(*BASES.get(column)?)?;
        NAMES.get(usize::from(*CELLS.get(column)?.get(usize::from(cell))?))
    };
    in_column(column)
        .or_else(|| in_column(shared_with(column)?))
        .copied()
}

/// What a system call does by its number.
pub fn role(arch: u32, number: u32) -> Role {
    let Some((column, number)) = place_of(arch, number) else {
        return Role::Other;
    };
    let is = |row: &[u16; COLUMNS]| {
        row.get(column) == Some(&number)
            || shared_with(column).is_some_and(|shared| row.get(shared) == Some(&number))
    };
    if EXECS.iter().any(is) {
        Role::Exec
    } else if is(&EXIT) {
        Role::Exit
    } else {
        Role::Other
    }
}

/// What a system call does by its name.
pub fn role_of_name(name: &[u8]) -> Role {
    match name {
        b"execve" | b"execveat" | b"execv" => Role::Exec,
        b"exit_group" => Role::Exit,
        _ => Role::Other,
    }
}

/// Every architecture of the audit interface: its name (as go-libaudit has it), its number.
pub fn architectures() -> impl Iterator<Item = (&'static str, u32)> {
    ARCHITECTURES
        .iter()
        .map(|(number, name, _)| (*name, *number))
}

/// Every system call of an architecture: number, name. Those of x32 come after those of x86-64.
pub fn all(arch: u32) -> impl Iterator<Item = (u32, &'static str)> {
    let x32 = (arch == X86_64).then_some((X32, X32_BIT));
    let columns = column_of(arch)
        .map(|column| (column, 0))
        .into_iter()
        .chain(x32);
    columns.flat_map(move |(column, bit)| {
        let base = BASES.get(column).copied().unwrap_or_default();
        let cells = CELLS.get(column).into_iter().flatten().zip(base..);
        cells.filter_map(move |(at, cell)| {
            let name = NAMES.get(usize::from(*at))?;
            Some((number_of(arch, cell) | bit, *name))
        })
    })
}

fn column_of(arch: u32) -> Option<usize> {
    // Most logs are of one of these.
    match arch {
        X86_64 => Some(X86_64_COLUMN),
        AARCH64 => Some(AARCH64_COLUMN),
        _ => {
            let at = ARCHITECTURES.binary_search_by_key(&arch, |(number, ..)| *number);
            ARCHITECTURES.get(at.ok()?).map(|(_, _, column)| *column)
        }
    }
}

/// The column, and the number as it stands in the table.
fn place_of(arch: u32, number: u32) -> Option<(usize, u16)> {
    let column = column_of(arch)?;
    let (column, cell) = if arch == X86_64 && number & X32_BIT != 0 {
        (X32, number & !X32_BIT)
    } else if arch == X86_64 && (512..548).contains(&number) {
        // Kernels before 5.4 took the calls of x32 without the bit, too.
        (X32, number)
    } else if ARM.contains(&arch) {
        let number = number.checked_sub(ARM_OLD_BASE).unwrap_or(number);
        let private = number.checked_sub(ARM_PRIVATE);
        (
            column,
            private.map_or(number, |private| private + ARM_PRIVATE_CELL),
        )
    } else {
        (column, number)
    };
    let cell = u16::try_from(cell).ok().filter(|cell| *cell != NONE)?;
    Some((column, cell))
}

/// x32 has all calls of x86-64 that it has no own number for; older kernels took the others with its bit, too.
fn shared_with(column: usize) -> Option<usize> {
    if column == X32 {
        column_of(X86_64)
    } else {
        None
    }
}

fn number_of(arch: u32, cell: u16) -> u32 {
    match u32::from(cell).checked_sub(ARM_PRIVATE_CELL) {
        Some(private) if ARM.contains(&arch) => ARM_PRIVATE + private,
        _ => u32::from(cell),
    }
}

// Evaluated when compiled: an index out of bounds is a build error.
#[allow(clippy::indexing_slicing)]
const fn names() -> [&'static str; CALLS.len()] {
    let mut out = [""; CALLS.len()];
    let mut at = 0;
    while at < CALLS.len() {
        out[at] = CALLS[at].0;
        at += 1;
    }
    out
}

#[allow(clippy::indexing_slicing)]
const fn cells() -> [[u16; WIDTH]; COLUMNS] {
    let mut out = [[NONE; WIDTH]; COLUMNS];
    let mut at = 0;
    while at < CALLS.len() {
        let mut column = 0;
        while column < COLUMNS {
            let number = CALLS[at].1[column];
            if number != NONE {
                let cell = (number - BASES[column]) as usize;
                if out[column][cell] == NONE {
                    out[column][cell] = at as u16;
                }
            }
            column += 1;
        }
        at += 1;
    }
    out
}

/// The column of an architecture that the table must have.
#[allow(clippy::indexing_slicing)]
const fn find_column(arch: u32) -> usize {
    let mut at = 0;
    while ARCHITECTURES[at].0 != arch {
        at += 1;
    }
    ARCHITECTURES[at].2
}

/// The numbers of a call that the table must have.
#[allow(clippy::indexing_slicing, clippy::panic)]
const fn row_of(name: &str) -> [u16; COLUMNS] {
    let mut at = 0;
    while at < CALLS.len() {
        if same(CALLS[at].0.as_bytes(), name.as_bytes()) {
            return CALLS[at].1;
        }
        at += 1;
    }
    panic!("the table of system calls lacks one that begins or ends a program")
}

#[allow(clippy::indexing_slicing)]
const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_of_machine(name: &str) -> u32 {
        let found = architectures().find(|(known, _)| *known == name);
        found.map_or(0, |(_, number)| number)
    }

    #[test]
    fn the_table_is_sorted_as_the_searches_need_it() {
        assert!(NAMES.len() > 500 && ARCHITECTURES.len() > 50);
        assert!(NAMES.is_sorted_by(|a, b| a < b));
        assert!(ARCHITECTURES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn every_call_of_the_table_is_found_by_its_number() {
        let mut looked_at = 0;
        let archs = architectures().map(|(_, arch)| arch);
        let calls =
            archs.flat_map(|arch| all(arch).map(move |(number, name)| (arch, number, name)));
        for (arch, number, name) in calls {
            assert_eq!(super::name(arch, number), Some(name), "{arch:x} {number}");
            let (column, number) = place_of(arch, number).unwrap_or_default();
            let row = CALLS.iter().find(|(known, _)| *known == name);
            assert_eq!(row.and_then(|(_, row)| row.get(column)), Some(&number));
            looked_at += 1;
        }
        let cells = CALLS.iter().flat_map(|(_, row)| row);
        assert!(looked_at > cells.filter(|cell| **cell != NONE).count());
    }

    #[test]
    fn programs_begin_and_end_on_every_architecture() {
        // From the kernel's tables: architecture, execve, execveat, exit_group.
        for (arch, calls) in [
            ("x86_64", [59, 322, 231]),
            ("i386", [11, 358, 252]),
            ("aarch64", [221, 281, 94]),
            ("arm", [11, 387, 248]),
            ("armeb", [11, 387, 248]),
            ("ppc", [11, 362, 234]),
            ("ppc64", [11, 362, 234]),
            ("ppc64le", [11, 362, 234]),
            ("s390", [11, 354, 248]),
            ("s390x", [11, 354, 248]),
            ("riscv32", [221, 281, 94]),
            ("riscv64", [221, 281, 94]),
            ("loongarch64", [221, 281, 94]),
            ("mips", [4011, 4356, 4246]),
            ("mipsel", [4011, 4356, 4246]),
            ("mips64", [5057, 5316, 5205]),
            ("mipsel64", [5057, 5316, 5205]),
            ("mips64n32", [6057, 6320, 6205]),
            ("mipsel64n32", [6057, 6320, 6205]),
            ("ia64", [1033, 1342, 1236]),
            ("alpha", [59, 513, 405]),
            ("sparc", [59, 350, 188]),
            ("sparc64", [59, 350, 188]),
            ("parisc", [11, 342, 222]),
            ("parisc64", [11, 342, 222]),
            ("m68k", [11, 355, 247]),
            ("sh", [11, 376, 252]),
            ("shel", [11, 376, 252]),
        ] {
            let number = number_of_machine(arch);
            let [execve, execveat, exit_group] = calls;
            assert_eq!(role(number, execve), Role::Exec, "{arch}");
            assert_eq!(role(number, execveat), Role::Exec, "{arch}");
            assert_eq!(role(number, exit_group), Role::Exit, "{arch}");
            assert_eq!(role(number, execve + 2), Role::Other, "{arch}");
        }
    }

    #[test]
    fn x32_and_old_arm_numbers_are_known_by_their_base() {
        assert_eq!(name(X86_64, X32_BIT | 520), Some("execve"));
        assert_eq!(name(X86_64, X32_BIT | 83), Some("mkdir"));
        assert_eq!(role(X86_64, X32_BIT | 545), Role::Exec);
        assert_eq!(role(X86_64, X32_BIT | 231), Role::Exit);
        // Kernels of their time took both.
        assert_eq!(role(X86_64, 520), Role::Exec);
        assert_eq!(role(X86_64, X32_BIT | 59), Role::Exec);
        let [arm, armeb] = ARM;
        assert_eq!(name(arm, ARM_OLD_BASE + 11), Some("execve"));
        assert_eq!(role(armeb, ARM_OLD_BASE + 248), Role::Exit);
        assert_eq!(name(arm, 0xf_0005), Some("set_tls"));
        assert!(all(arm).any(|call| call == (0xf_0005, "set_tls")));
    }

    #[test]
    fn what_no_table_has_is_none() {
        for (arch, call) in [(X86_64, u32::MAX), (X86_64, 0xffff), (0, 59), (X86_64, 400)] {
            assert_eq!(name(arch, call), None);
            assert_eq!(role(arch, call), Role::Other);
        }
        assert_eq!(all(0).count(), 0);
    }
}
