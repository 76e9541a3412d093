"""Write the table of system calls, `crates/envtrail-core/src/syscalls/table.rs`.

python tools/write_syscalls.py [--version 7.2] [--check]

Numbers come from the package `system-calls` on PyPI (MIT licence), which collects them from the kernel's headers. It is downloaded with
pip into a temporary folder and read as data; nothing of it runs. `--check` compares instead, with the version that the table names.

References:
    include/uapi/linux/audit.h (AUDIT_ARCH_*), include/uapi/linux/elf-em.h (EM_*); https://github.com/hrw/syscalls-table
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TABLE = Path(__file__).parent.parent / "crates/envtrail-core/src/syscalls/table.rs"
BITS_64, LITTLE, MIPS_N32 = 0x8000_0000, 0x4000_0000, 0x2000_0000
OF_64 = BITS_64 | LITTLE
MACHINES = (
    ("aarch64", 183 | OF_64, "arm64"),
    ("alpha", 0x9026 | OF_64, "alpha"),
    ("arcompact", 93 | LITTLE, "arc"),
    ("arcompactbe", 93, "arc"),
    ("arcv2", 195 | LITTLE, "arc"),
    ("arcv2be", 195, "arc"),
    ("arm", 40 | LITTLE, "arm"),
    ("armeb", 40, "arm"),
    ("c6x", 140 | LITTLE, "c6x"),
    ("c6xbe", 140, "c6x"),
    ("cris", 76 | LITTLE, "cris"),
    ("csky", 252 | LITTLE, "csky"),
    ("frv", 0x5441, "frv"),
    ("h8300", 46, "h8300"),
    ("hexagon", 164, "hexagon"),
    ("i386", 3 | LITTLE, "i386"),
    ("ia64", 50 | OF_64, "ia64"),
    ("loongarch32", 258 | LITTLE, "loongarch32"),
    ("loongarch64", 258 | OF_64, "loongarch64"),
    ("m32r", 88, "m32r"),
    ("m68k", 4, "m68k"),
    ("microblaze", 189, "microblaze"),
    ("mips", 8, "mipso32"),
    ("mipsel", 8 | LITTLE, "mipso32"),
    ("mips64", 8 | BITS_64, "mips64"),
    ("mipsel64", 8 | OF_64, "mips64"),
    ("mips64n32", 8 | BITS_64 | MIPS_N32, "mips64n32"),
    ("mipsel64n32", 8 | OF_64 | MIPS_N32, "mips64n32"),
    ("nds32", 167 | LITTLE, "nds32"),
    ("nds32be", 167, "nds32"),
    ("nios2", 113 | LITTLE, "nios2"),
    ("openrisc", 92, "openrisc"),
    ("parisc", 15, "parisc"),
    ("parisc64", 15 | BITS_64, "parisc64"),
    ("ppc", 20, "powerpc"),
    ("ppc64", 21 | BITS_64, "powerpc64"),
    ("ppc64le", 21 | OF_64, "powerpc64"),
    ("riscv32", 243 | LITTLE, "riscv32"),
    ("riscv64", 243 | OF_64, "riscv64"),
    ("s390", 22, "s390"),
    ("s390x", 22 | BITS_64, "s390x"),
    ("sh", 42, "sh"),
    ("shel", 42 | LITTLE, "sh"),
    ("sh64", 42 | BITS_64, "sh64"),
    ("shel64", 42 | OF_64, "sh64"),
    ("sparc", 2, "sparc"),
    ("sparc64", 43 | BITS_64, "sparc64"),
    ("tilegx", 191 | OF_64, "tile64"),
    ("tilegx32", 191 | LITTLE, "tile"),
    ("tilepro", 188 | LITTLE, "tile"),
    ("unicore", 110 | LITTLE, "unicore32"),
    ("x86_64", 62 | OF_64, "x86_64"),
    ("xtensa", 94, "xtensa"),
)
"""Name as go-libaudit writes it, number in `arch=`, table of the source."""
X32, X32_BIT = "x32", 0x4000_0000
"""It shares the audit architecture of x86-64; its numbers carry this bit, which the table leaves out."""
ARM_PRIVATE, ARM_PRIVATE_CELL = 0xF_0000, 600
"""Where the calls of 32-bit Arm alone begin, and where in the table."""
WIDTH = 640
"""No architecture has as many; the numbers of some begin at a base (mips: 4000, 5000, 6000; ia64: 1024)."""
NONE = 0xFFFF


def main() -> int:
    """Write the table, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", help="of the package; the one that the table names by default")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the table differs")
    options = parser.parse_args()
    old = TABLE.read_text() if TABLE.exists() else ""
    named = re.search(r"`system-calls` (\S+) ", old)
    version = options.version or (named[1] if named else None)
    if version is None:
        parser.error("--version: the table names none yet")
    text = render(version, read_source(version))
    if options.check:
        if text != old:
            print(f"{TABLE} is not what version {version} gives\nhint: python tools/write_syscalls.py --version {version}")
        return int(text != old)
    TABLE.write_text(text)
    return 0


def read_source(version: str) -> dict[str, dict[str, int]]:
    """Table of the source → name → number."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder]
        if subprocess.run([*pip, f"system-calls=={version}"], check=False).returncode:
            raise SystemExit(f"system-calls {version} could not be downloaded\nhint: --version names one that the index has")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            wanted = {X32, *(table for _, _, table in MACHINES)}
            return {table: _literal(package.read(f"system_calls/tables/{table}.py").decode()) for table in wanted}


def _literal(module: str) -> dict[str, int]:
    """The only dictionary that a module assigns."""
    (found,) = [node.value for node in ast.parse(module).body if isinstance(node, ast.Assign)]
    numbers: dict[str, int] = ast.literal_eval(found)
    return numbers


def render(version: str, source: dict[str, dict[str, int]]) -> str:
    """The table as Rust."""
    columns = sorted(source)
    calls = {name: [_cell(source[column].get(name)) for column in columns] for name in sorted(set().union(*source.values()))}
    machines = sorted((number, name, columns.index(table)) for name, number, table in MACHINES)
    bases = [_base(source[column]) for column in columns]
    lines = [
        "//! Numbers of system calls. Do not edit: written by `tools/write_syscalls.py`.",
        "//!",
        f"//! Source: `system-calls` {version} of PyPI (https://github.com/hrw/syscalls-table, MIT licence).",
        "",
        "/// There is no such call.",
        f"pub const NONE: u16 = {NONE:#x};",
        "const X: u16 = NONE;",
        f"pub const COLUMNS: usize = {len(columns)};",
        f"pub const X32: usize = {columns.index(X32)};",
        f"pub const WIDTH: usize = {WIDTH};",
        "/// Where the calls of 32-bit Arm alone stand in its column.",
        f"pub const ARM_PRIVATE_CELL: u32 = {ARM_PRIVATE_CELL};",
        "/// What the numbers of a column begin at; all are less than `WIDTH` above it.",
        f"pub const BASES: [u16; COLUMNS] = [{','.join(map(str, bases))}];",
        "",
        "/// `arch=`, its name, its column; sorted by number.",
        f"pub static ARCHITECTURES: [(u32, &str, usize); {len(machines)}] = [",
        *(f'    ({number:#010x}, "{name}", {column}),' for number, name, column in machines),
        "];",
        "",
        f"/// Name, and its number in each column: {', '.join(columns)}. Sorted by name.",
        f"pub static CALLS: [(&str, [u16; COLUMNS]); {len(calls)}] = [",
        *(f'    ("{name}", [{",".join(cells)}]),' for name, cells in calls.items()),
        "];",
    ]
    return "\n".join(lines) + "\n"


def _base(numbers: dict[str, int]) -> int:
    cells = [_number(number) for number in numbers.values()]
    base = min(cells) & ~7 if min(cells) >= 1000 else 0
    if max(cells) >= base + WIDTH:
        raise SystemExit(f"{max(cells)}: no system call has such a number; WIDTH is too small")
    return base


def _cell(number: int | None) -> str:
    return "X" if number is None else str(_number(number))


def _number(number: int) -> int:
    number &= ~X32_BIT
    return number - ARM_PRIVATE + ARM_PRIVATE_CELL if number >= ARM_PRIVATE else number


if __name__ == "__main__":
    raise SystemExit(main())
