//! Record types: names and numbers.
//!
//! References: include/uapi/linux/audit.h; audit-userspace's msg_typetab (names as `ausearch` prints them).

macro_rules! record_types {
    ($($number:literal $name:literal)*) => {
        /// Name of a record type; None when it has none.
        pub fn known_name(number: u16) -> Option<&'static str> {
            match number { $($number => Some($name),)* _ => None }
        }
        fn known_number(name: &[u8]) -> Option<u16> {
            NAMES.binary_search_by(|(known, _)| known.as_bytes().cmp(name)).ok().and_then(|at| NAMES.get(at)).map(|(_, number)| *number)
        }
        const UNSORTED: &[(&str, u16)] = &[$(($name, $number),)*];
        static NAMES: [(&str, u16); UNSORTED.len()] = sorted();
        // Evaluated when compiled: an index out of bounds is a build error.
        #[allow(clippy::indexing_slicing)]
        const fn sorted() -> [(&'static str, u16); UNSORTED.len()] {
            let mut out = [("", 0u16); UNSORTED.len()];
            let mut i = 0;
            while i < UNSORTED.len() {
                out[i] = UNSORTED[i];
                let mut j = i;
                while j > 0 && less(out[j].0.as_bytes(), out[j - 1].0.as_bytes()) {
                    let kept = out[j];
                    out[j] = out[j - 1];
                    out[j - 1] = kept;
                    j -= 1;
                }
                i += 1;
            }
            out
        }
    };
}

#[allow(clippy::indexing_slicing)]
const fn less(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() {
        if a[i] != b[i] {
            return a[i] < b[i];
        }
        i += 1;
    }
    a.len() < b.len()
}

record_types! {
    1005 "USER" 1006 "LOGIN"
    1100 "USER_AUTH" 1101 "USER_ACCT" 1102 "USER_MGMT" 1103 "CRED_ACQ" 1104 "CRED_DISP" 1105 "USER_START"
    1106 "USER_END" 1107 "USER_AVC" 1108 "USER_CHAUTHTOK" 1109 "USER_ERR" 1110 "CRED_REFR" 1111 "USYS_CONFIG"
    1112 "USER_LOGIN" 1113 "USER_LOGOUT" 1114 "ADD_USER" 1115 "DEL_USER" 1116 "ADD_GROUP" 1117 "DEL_GROUP"
    1118 "DAC_CHECK" 1119 "CHGRP_ID" 1120 "TEST" 1121 "TRUSTED_APP" 1122 "USER_SELINUX_ERR" 1123 "USER_CMD"
    1124 "USER_TTY" 1125 "CHUSER_ID" 1126 "GRP_AUTH" 1127 "SYSTEM_BOOT" 1128 "SYSTEM_SHUTDOWN"
    1129 "SYSTEM_RUNLEVEL" 1130 "SERVICE_START" 1131 "SERVICE_STOP" 1132 "GRP_MGMT" 1133 "GRP_CHAUTHTOK"
    1134 "MAC_CHECK" 1135 "ACCT_LOCK" 1136 "ACCT_UNLOCK" 1137 "USER_DEVICE" 1138 "SOFTWARE_UPDATE"
    1200 "DAEMON_START" 1201 "DAEMON_END" 1202 "DAEMON_ABORT" 1203 "DAEMON_CONFIG" 1204 "DAEMON_RECONFIG"
    1205 "DAEMON_ROTATE" 1206 "DAEMON_RESUME" 1207 "DAEMON_ACCEPT" 1208 "DAEMON_CLOSE" 1209 "DAEMON_ERR"
    1300 "SYSCALL" 1302 "PATH" 1303 "IPC" 1304 "SOCKETCALL" 1305 "CONFIG_CHANGE" 1306 "SOCKADDR" 1307 "CWD"
    1309 "EXECVE" 1311 "IPC_SET_PERM" 1312 "MQ_OPEN" 1313 "MQ_SENDRECV" 1314 "MQ_NOTIFY" 1315 "MQ_GETSETATTR"
    1316 "KERNEL_OTHER" 1317 "FD_PAIR" 1318 "OBJ_PID" 1319 "TTY" 1320 "EOE" 1321 "BPRM_FCAPS" 1322 "CAPSET"
    1323 "MMAP" 1324 "NETFILTER_PKT" 1325 "NETFILTER_CFG" 1326 "SECCOMP" 1327 "PROCTITLE" 1328 "FEATURE_CHANGE"
    1329 "REPLACE" 1330 "KERN_MODULE" 1331 "FANOTIFY" 1332 "TIME_INJOFFSET" 1333 "TIME_ADJNTPVAL" 1334 "BPF"
    1335 "EVENT_LISTENER" 1336 "URINGOP" 1337 "OPENAT2" 1338 "DM_CTRL" 1339 "DM_EVENT"
    1400 "AVC" 1401 "SELINUX_ERR" 1402 "AVC_PATH" 1403 "MAC_POLICY_LOAD" 1404 "MAC_STATUS"
    1405 "MAC_CONFIG_CHANGE" 1406 "MAC_UNLBL_ALLOW" 1407 "MAC_CIPSOV4_ADD" 1408 "MAC_CIPSOV4_DEL"
    1409 "MAC_MAP_ADD" 1410 "MAC_MAP_DEL" 1411 "MAC_IPSEC_ADDSA"
    1412 "MAC_IPSEC_DELSA" 1413 "MAC_IPSEC_ADDSPD" 1414 "MAC_IPSEC_DELSPD" 1415 "MAC_IPSEC_EVENT" 1416 "MAC_UNLBL_STCADD"
    1417 "MAC_UNLBL_STCDEL" 1418 "MAC_CALIPSO_ADD" 1419 "MAC_CALIPSO_DEL" 1420 "IPE_ACCESS"
    1421 "IPE_CONFIG_CHANGE" 1422 "IPE_POLICY_LOAD" 1423 "LANDLOCK_ACCESS" 1424 "LANDLOCK_DOMAIN"
    1425 "MAC_TASK_CONTEXTS" 1426 "MAC_OBJ_CONTEXTS"
    1500 "APPARMOR" 1501 "APPARMOR_AUDIT" 1502 "APPARMOR_ALLOWED" 1503 "APPARMOR_DENIED" 1504 "APPARMOR_HINT"
    1505 "APPARMOR_STATUS" 1506 "APPARMOR_ERROR" 1507 "APPARMOR_KILL"
    1700 "ANOM_PROMISCUOUS" 1701 "ANOM_ABEND" 1702 "ANOM_LINK" 1703 "ANOM_CREAT"
    1800 "INTEGRITY_DATA" 1801 "INTEGRITY_METADATA" 1802 "INTEGRITY_STATUS" 1803 "INTEGRITY_HASH"
    1804 "INTEGRITY_PCR" 1805 "INTEGRITY_RULE" 1806 "INTEGRITY_EVM_XATTR" 1807 "INTEGRITY_POLICY_RULE"
    1808 "INTEGRITY_USERSPACE"
    2000 "KERNEL"
    2100 "ANOM_LOGIN_FAILURES" 2101 "ANOM_LOGIN_TIME" 2102 "ANOM_LOGIN_SESSIONS" 2103 "ANOM_LOGIN_ACCT"
    2104 "ANOM_LOGIN_LOCATION" 2105 "ANOM_MAX_DAC" 2106 "ANOM_MAX_MAC" 2107 "ANOM_AMTU_FAIL"
    2108 "ANOM_RBAC_FAIL" 2109 "ANOM_RBAC_INTEGRITY_FAIL" 2110 "ANOM_CRYPTO_FAIL" 2111 "ANOM_ACCESS_FS"
    2112 "ANOM_EXEC" 2113 "ANOM_MK_EXEC" 2114 "ANOM_ADD_ACCT" 2115 "ANOM_DEL_ACCT" 2116 "ANOM_MOD_ACCT"
    2117 "ANOM_ROOT_TRANS" 2118 "ANOM_LOGIN_SERVICE" 2119 "ANOM_LOGIN_ROOT" 2120 "ANOM_ORIGIN_FAILURES"
    2121 "ANOM_SESSION"
    2200 "RESP_ANOMALY" 2201 "RESP_ALERT" 2202 "RESP_KILL_PROC" 2203 "RESP_TERM_ACCESS" 2204 "RESP_ACCT_REMOTE"
    2205 "RESP_ACCT_LOCK_TIMED" 2206 "RESP_ACCT_UNLOCK_TIMED" 2207 "RESP_ACCT_LOCK" 2208 "RESP_TERM_LOCK"
    2209 "RESP_SEBOOL" 2210 "RESP_EXEC" 2211 "RESP_SINGLE" 2212 "RESP_HALT" 2213 "RESP_ORIGIN_BLOCK"
    2214 "RESP_ORIGIN_BLOCK_TIMED" 2215 "RESP_ORIGIN_UNBLOCK_TIMED"
    2300 "USER_ROLE_CHANGE" 2301 "ROLE_ASSIGN" 2302 "ROLE_REMOVE" 2303 "LABEL_OVERRIDE"
    2304 "LABEL_LEVEL_CHANGE" 2305 "USER_LABELED_EXPORT" 2306 "USER_UNLABELED_EXPORT" 2307 "DEV_ALLOC"
    2308 "DEV_DEALLOC" 2309 "FS_RELABEL" 2310 "USER_MAC_POLICY_LOAD" 2311 "ROLE_MODIFY"
    2312 "USER_MAC_CONFIG_CHANGE" 2313 "USER_MAC_STATUS"
    2400 "CRYPTO_TEST_USER" 2401 "CRYPTO_PARAM_CHANGE_USER" 2402 "CRYPTO_LOGIN" 2403 "CRYPTO_LOGOUT"
    2404 "CRYPTO_KEY_USER" 2405 "CRYPTO_FAILURE_USER" 2406 "CRYPTO_REPLAY_USER" 2407 "CRYPTO_SESSION"
    2408 "CRYPTO_IKE_SA" 2409 "CRYPTO_IPSEC_SA"
    2500 "VIRT_CONTROL" 2501 "VIRT_RESOURCE" 2502 "VIRT_MACHINE_ID" 2503 "VIRT_INTEGRITY_CHECK"
    2504 "VIRT_CREATE" 2505 "VIRT_DESTROY" 2506 "VIRT_MIGRATE_IN" 2507 "VIRT_MIGRATE_OUT"
}

/// A type whose name this build does not know; the name itself is kept from the line.
pub const UNNAMED: u16 = 0;
pub const LOGIN: u16 = 1006;
pub const USER_TTY: u16 = 1124;
pub const SYSCALL: u16 = 1300;
pub const PATH: u16 = 1302;
pub const CONFIG_CHANGE: u16 = 1305;
pub const SOCKADDR: u16 = 1306;
pub const CWD: u16 = 1307;
pub const EXECVE: u16 = 1309;
pub const TTY: u16 = 1319;
pub const EOE: u16 = 1320;
pub const BPRM_FCAPS: u16 = 1321;
pub const PROCTITLE: u16 = 1327;
pub const URINGOP: u16 = 1336;
pub const OPENAT2: u16 = 1337;

/// The name under which a record is written: `UNKNOWN[n]` for a type without one.
pub fn record_type_name(number: u16) -> String {
    known_name(number).map_or_else(|| format!("UNKNOWN[{number}]"), str::to_owned)
}

/// The number of a record type as it stands in a line; None when it is no type at all.
pub fn record_type_number(name: &[u8]) -> Option<u16> {
    match name {
        b"SYSCALL" => Some(SYSCALL),
        b"PATH" => Some(PATH),
        b"EXECVE" => Some(EXECVE),
        b"CWD" => Some(CWD),
        b"PROCTITLE" => Some(PROCTITLE),
        b"EOE" => Some(EOE),
        _ => known_number(name).or_else(|| {
            let unknown = name.strip_prefix(b"UNKNOWN[");
            let digits = unknown.and_then(|rest| rest.strip_suffix(b"]"));
            if digits.is_some() || name.first().is_some_and(u8::is_ascii_digit) {
                let digits = std::str::from_utf8(digits.unwrap_or(name)).ok()?;
                return digits.parse().ok();
            }
            let is_name = !name.is_empty()
                && name.iter().all(|byte| {
                    byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_'
                });
            is_name.then_some(UNNAMED)
        }),
    }
}

/// Records of these types come alone: they are an event by themselves.
///
/// Reference: auditd.conf(5) NOTES on events of a single record: what user space sends (1100 to 1299, 2100 and above).
pub fn is_single(number: u16) -> bool {
    matches!(number, 1005 | 1100..=1299 | 2000..)
}

/// Records that no system call has: auditd's own, and the kernel's at its start. What a program sends comes alone as well unless
/// sending it is audited: then the system call follows it under the same serial (`audit_log_start()` in kernel/audit.c).
pub fn is_without_call(number: u16) -> bool {
    is_daemon(number) || number == 2000
}

/// Records that are written as a system call ends, all of its event together (`audit_log_exit()` in kernel/auditsc.c).
pub fn is_of_call(number: u16) -> bool {
    matches!(number, SYSCALL | PATH | SOCKADDR | CWD | EXECVE | PROCTITLE)
}

/// Records that the kernel writes after the SYSCALL record of their event, and under no serial without one. An operation of io_uring
/// has URINGOP in its place. A denied link (ANOM_LINK) names its PATH in kernel threads as well, which make no system calls.
///
/// Reference: `audit_log_exit()`, `show_special()` and `audit_log_uring()` in kernel/auditsc.c
pub fn follows_call(number: u16) -> bool {
    matches!(
        number,
        PATH | 1303 | 1304 | SOCKADDR | CWD | EXECVE | 1311..=1315 | 1317 | 1318 | 1321..=1323 | PROCTITLE | 1332 | 1333 | OPENAT2
    )
}

/// Anomalies that the kernel reports of a file.
pub fn is_denied_file(number: u16) -> bool {
    matches!(number, 1702 | 1703)
}

/// Numbers of auditd's own records: their serials are not the kernel's.
pub fn is_daemon(number: u16) -> bool {
    (1200..1300).contains(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_number() {
        assert!(NAMES.len() > 150);
        for (name, number) in NAMES {
            assert_eq!(record_type_number(name.as_bytes()), Some(number), "{name}");
            assert_eq!(record_type_name(number), name);
        }
        assert_eq!(record_type_number(b"UNKNOWN[1999]"), Some(1999));
        assert_eq!(record_type_name(1999), "UNKNOWN[1999]");
        assert_eq!(record_type_number(b"1300"), Some(SYSCALL));
        assert_eq!(record_type_number(b"99999"), None);
        assert_eq!(record_type_number(b"NOT_YET_KNOWN"), Some(UNNAMED));
        assert_eq!(record_type_number(b"nope"), None);
    }
}
