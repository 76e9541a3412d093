//! Names of the system calls that rules of Envtrail and of the common baselines speak of.
//!
//! Reference: arch/x86/entry/syscalls/syscall_64.tbl, syscall_32.tbl; include/uapi/asm-generic/unistd.h (aarch64).

const X86_64: &[(u32, &str)] = &[
    (0, "read"), (1, "write"), (2, "open"), (3, "close"), (9, "mmap"), (41, "socket"), (42, "connect"), (43, "accept"),
    (44, "sendto"), (46, "sendmsg"), (49, "bind"), (50, "listen"), (56, "clone"), (57, "fork"), (58, "vfork"), (59, "execve"),
    (60, "exit"), (62, "kill"), (76, "truncate"), (77, "ftruncate"), (82, "rename"), (83, "mkdir"), (84, "rmdir"),
    (85, "creat"), (86, "link"), (87, "unlink"), (88, "symlink"), (90, "chmod"), (91, "fchmod"), (92, "chown"),
    (93, "fchown"), (94, "lchown"), (101, "ptrace"), (105, "setuid"), (117, "setresuid"), (133, "mknod"),
    (155, "pivot_root"), (161, "chroot"), (165, "mount"), (166, "umount2"), (175, "init_module"),
    (176, "delete_module"), (188, "setxattr"), (231, "exit_group"), (257, "openat"), (258, "mkdirat"),
    (259, "mknodat"), (260, "fchownat"), (263, "unlinkat"), (264, "renameat"), (265, "linkat"), (266, "symlinkat"),
    (268, "fchmodat"), (280, "utimensat"), (313, "finit_module"), (316, "renameat2"), (321, "bpf"), (322, "execveat"),
    (425, "io_uring_setup"), (426, "io_uring_enter"), (435, "clone3"), (437, "openat2"), (452, "fchmodat2"),
];

const I386: &[(u32, &str)] = &[
    (1, "exit"), (2, "fork"), (5, "open"), (8, "creat"), (9, "link"), (10, "unlink"), (11, "execve"), (15, "chmod"),
    (38, "rename"), (39, "mkdir"), (40, "rmdir"), (83, "symlink"), (120, "clone"), (190, "vfork"), (252, "exit_group"),
    (295, "openat"), (296, "mkdirat"), (301, "unlinkat"), (302, "renameat"), (303, "linkat"), (304, "symlinkat"),
    (353, "renameat2"), (358, "execveat"), (435, "clone3"), (437, "openat2"),
];

const AARCH64: &[(u32, &str)] = &[
    (34, "mkdirat"), (35, "unlinkat"), (36, "symlinkat"), (37, "linkat"), (38, "renameat"), (53, "fchmodat"),
    (54, "fchownat"), (56, "openat"), (93, "exit"), (94, "exit_group"), (220, "clone"), (221, "execve"),
    (276, "renameat2"), (281, "execveat"), (435, "clone3"), (437, "openat2"),
];

/// Name of a system call by audit architecture and number; None when it is not in the table.
pub fn name(arch: u32, number: u32) -> Option<&'static str> {
    let table = match arch {
        0xc000_003e => X86_64,
        0x4000_0003 => I386,
        0xc000_00b7 => AARCH64,
        _ => return None,
    };
    table.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}
