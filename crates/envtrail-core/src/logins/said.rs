//! What a record of a login says, and the words that programs use in it.

use super::Stamp;
use crate::columns::{Column, Columns};
use arrow_array::RecordBatch;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

/// Record types that say something of logins.
pub const LOGIN_TYPES: [&str; 11] = [
    "LOGIN",
    "CRED_ACQ",
    "CRED_REFR",
    "CRED_DISP",
    "USER_START",
    "USER_LOGIN",
    "USER_END",
    "USER_LOGOUT",
    "USER_AUTH",
    "USER_ACCT",
    "SYSTEM_BOOT",
];

/// Programs whose PAM session is inside a login; they neither begin, name nor end it.
const NEVER_OPENERS: [&str; 32] = [
    "su",
    "sudo",
    "sudo-rs",
    "su-rs",
    "doas",
    "pkexec",
    "runuser",
    "setpriv",
    "newgrp",
    "sg",
    "userhelper",
    "polkit-agent-helper-1",
    "unix_chkpwd",
    "passwd",
    "chage",
    "chsh",
    "chfn",
    "crontab",
    "shutdown",
    "reboot",
    "useradd",
    "userdel",
    "usermod",
    "groupadd",
    "groupdel",
    "xscreensaver",
    "kcheckpass",
    "kscreenlocker_greet",
    "i3lock",
    "swaylock",
    "vlock",
    "screen",
];
/// Columns that are read.
const READ: [&str; 12] = [
    "kind", "type", "fields", "node", "time", "serial", "success", "pid", "auid", "ses", "exe",
    "address",
];
const LOCAL_TERMINALS: [&str; 7] = ["tty", "pts", "hvc", "console", ":", "cron", "?"];

/// One record. The texts are those of a batch, or kept ones.
#[derive(Clone, Debug)]
pub(super) struct Said<'a> {
    pub(super) node: Cow<'a, str>,
    pub(super) stamp: Stamp,
    pub(super) kind: Kind,
    pub(super) success: Option<bool>,
    pub(super) pid: Option<u32>,
    pub(super) auid: Option<u32>,
    pub(super) ses: Option<u32>,
    /// It names a session that is unset, or none that is a number.
    pub(super) has_ses: bool,
    exe: Option<Cow<'a, str>>,
    address: Option<Cow<'a, str>>,
    op: Option<Cow<'a, str>>,
    acct: Option<Cow<'a, str>>,
    terminal: Option<Cow<'a, str>>,
    hostname: Option<Cow<'a, str>>,
    addr: Option<Cow<'a, str>>,
    auid_name: Option<Cow<'a, str>>,
}

/// What a record's type says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boot,
    Login,
    Start,
    UserLogin,
    End,
    Logout,
    Dispose,
    Authenticate,
    Other,
}

impl Kind {
    fn of(name: &str) -> Kind {
        match name {
            "SYSTEM_BOOT" => Kind::Boot,
            "LOGIN" => Kind::Login,
            "USER_START" => Kind::Start,
            "USER_LOGIN" => Kind::UserLogin,
            "USER_END" => Kind::End,
            "USER_LOGOUT" => Kind::Logout,
            "CRED_DISP" => Kind::Dispose,
            "USER_AUTH" | "USER_ACCT" => Kind::Authenticate,
            _ => Kind::Other,
        }
    }

    pub(super) fn opens(self) -> bool {
        matches!(self, Kind::Start | Kind::UserLogin)
    }

    pub(super) fn ends(self) -> bool {
        matches!(self, Kind::End | Kind::Logout | Kind::Dispose)
    }

    /// It is of the begin or the end of a session.
    pub(super) fn is_of_session(self) -> bool {
        self.opens() || matches!(self, Kind::End | Kind::Logout)
    }
}

/// The columns of a batch that say something of logins.
pub(super) struct SaidColumns(Columns);

impl SaidColumns {
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let schema = batch.schema();
        let read: Vec<usize> = READ
            .iter()
            .filter_map(|name| schema.index_of(name).ok())
            .collect();
        let few = batch.project(&read);
        SaidColumns(Columns::of(few.as_ref().unwrap_or(batch)))
    }

    /// The rows that do.
    pub(super) fn rows(&self, count: usize) -> Vec<usize> {
        let (kind, record_type) = (self.0.get("kind"), self.0.get("type"));
        let is_user = |row: &usize| kind.text(*row) == Some("user");
        let of_type = |row: &usize| {
            record_type
                .text(*row)
                .is_some_and(|one| LOGIN_TYPES.contains(&one))
        };
        (0..count).filter(is_user).filter(of_type).collect()
    }

    /// What a row says, on a machine of this name where it names none.
    pub(super) fn at<'a>(&'a self, row: usize, node: &'a str, segment: u64) -> Said<'a> {
        let columns = &self.0;
        let text = |name: &str| columns.get(name).text(row).map(Cow::Borrowed);
        let number = |name: &str| number_of(columns.get(name), row);
        let fields = columns.get("fields");
        let word = |name: &str| fields.value_of(row, name).map(Cow::Borrowed);
        let time_ms = columns.get("time").number(row).unwrap_or_default();
        let serial = columns.get("serial").number(row).unwrap_or_default();
        Said {
            node: text("node")
                .filter(|name| !name.is_empty())
                .unwrap_or(Cow::Borrowed(node)),
            stamp: (
                i64::try_from(time_ms).unwrap_or_default(),
                u64::try_from(serial).unwrap_or_default(),
                segment,
            ),
            kind: Kind::of(columns.get("type").text(row).unwrap_or_default()),
            success: columns.get("success").flag(row),
            pid: number("pid"),
            auid: number("auid"),
            ses: number("ses"),
            has_ses: word("ses").is_some(),
            exe: text("exe"),
            address: text("address"),
            op: word("op"),
            acct: word("acct"),
            terminal: word("terminal"),
            hostname: word("hostname"),
            addr: word("addr"),
            auid_name: word("AUID"),
        }
    }
}

fn number_of(column: &Column, row: usize) -> Option<u32> {
    u32::try_from(column.number(row)?).ok()
}

impl Said<'_> {
    /// To be kept longer than its batch.
    pub(super) fn into_owned(self) -> Said<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Said {
            node: Cow::Owned(self.node.into_owned()),
            stamp: self.stamp,
            kind: self.kind,
            success: self.success,
            pid: self.pid,
            auid: self.auid,
            ses: self.ses,
            has_ses: self.has_ses,
            exe: owned(self.exe),
            address: owned(self.address),
            op: owned(self.op),
            acct: owned(self.acct),
            terminal: owned(self.terminal),
            hostname: owned(self.hostname),
            addr: owned(self.addr),
            auid_name: owned(self.auid_name),
        }
    }

    /// Whether it is of PAM's session, not of one terminal or channel in it (`op=login`).
    pub(super) fn is_pam(&self) -> bool {
        self.op.as_deref() != Some("login")
    }

    /// Whether it says that a PAM session was opened.
    pub(super) fn is_opening(&self) -> bool {
        self.kind == Kind::Start && self.success != Some(false) && self.is_pam()
    }

    pub(super) fn service(&self) -> Option<&str> {
        service_of(self.exe.as_deref().unwrap_or_default())
    }

    /// `(unknown)` and `(invalid user)` are no accounts.
    pub(super) fn account(&self) -> Option<&str> {
        known(self.acct.as_deref()).filter(|account| !account.starts_with('('))
    }

    /// The login uid's name as auditd wrote it; `unknown(1000)` is none.
    pub(super) fn name(&self) -> Option<&str> {
        let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        known(self.auid_name.as_deref())
            .filter(|name| !name.starts_with("unknown(") && !is_number(name))
    }

    pub(super) fn terminal(&self) -> Option<&str> {
        known(self.terminal.as_deref())
    }

    /// The address it names, else the host; the machine's own name, which gdm and su write beside `addr=?`, is neither.
    pub(super) fn remote(&self) -> Option<String> {
        let hostname = known(self.hostname.as_deref());
        let addr = known(self.address.as_deref()).or_else(|| known(self.addr.as_deref()));
        let address = addr
            .and_then(address_of)
            .or_else(|| hostname.and_then(address_of));
        if address.is_some() {
            return address;
        }
        let terminal = self
            .terminal
            .as_deref()
            .filter(|text| !text.is_empty())
            .unwrap_or("?");
        let terminal = terminal.strip_prefix("/dev/").unwrap_or(terminal);
        let is_local = LOCAL_TERMINALS.iter().any(|one| terminal.starts_with(one));
        hostname
            .filter(|name| !is_local && address_of(name).is_none())
            .map(str::to_owned)
    }
}

/// The service a program is, or is part of; None for what runs inside of logins.
pub fn service_of(exe: &str) -> Option<&str> {
    let path = exe.strip_suffix(" (deleted)").unwrap_or(exe);
    let name = path.rsplit('/').next().unwrap_or_default();
    match name {
        "" => None,
        "sshd-session" | "sshd-auth" => Some("sshd"),
        "gdm-session-worker" => Some("gdm"),
        "sddm-helper" => Some("sddm"),
        "cockpit-session" => Some("cockpit"),
        "systemd" | "systemd-executor" => Some("systemd-user"),
        _ => (!NEVER_OPENERS.contains(&name)).then_some(name),
    }
}

/// An account without its domain, which stands before a backslash or behind an `@`.
pub(super) fn bare(account: &str) -> String {
    let name = account.rsplit('\\').next().unwrap_or_default();
    name.split('@').next().unwrap_or_default().to_lowercase()
}

/// RHEL 5: `(hostname=?, addr=?, terminal=ssh res=success)`.
fn known(value: Option<&str>) -> Option<&str> {
    let value = value?;
    let value = value.strip_suffix(',').unwrap_or(value);
    let is_none = matches!(value, "" | "?" | "(none)" | "(null)" | "UNKNOWN" | "unset");
    (!is_none).then_some(value)
}

/// An IP address in its usual form; None for a name, and for the address that means none.
fn address_of(value: &str) -> Option<String> {
    let (bare, zone) = match value.split_once('%') {
        Some((bare, zone)) if !zone.is_empty() && !zone.contains(['%', '/']) => (bare, Some(zone)),
        Some(_) => return None,
        None => (value, None),
    };
    let address = match zone {
        Some(_) => IpAddr::V6(bare.parse::<Ipv6Addr>().ok()?),
        None => bare.parse::<IpAddr>().ok()?,
    };
    let address = address.to_canonical();
    let shown = match zone {
        Some(zone) if address.is_ipv6() => format!("{address}%{zone}"),
        _ => address.to_string(),
    };
    (!address.is_unspecified()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form() {
        let shown = address_of;
        assert_eq!(shown("2001:DB8:0:0::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(shown("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(shown("fe80::1%eth0").as_deref(), Some("fe80::1%eth0"));
        for name in [
            "gpu1",
            "192.0.2.01",
            "192.0.2.1%eth0",
            "fe80::1%",
            "fe80::1%a%b",
            "",
            "::",
            "0.0.0.0",
        ] {
            assert_eq!(address_of(name), None, "{name}");
        }
    }

    #[test]
    fn an_account_is_the_same_in_any_domain() {
        assert_eq!(bare("AD\\Alice"), bare("alice@example.org"));
        assert_ne!(bare("alice"), bare("bob"));
    }
}
