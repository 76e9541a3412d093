//! Which arguments of which programs are secrets. `describe` prints these tables into the documentation.

/// What of a command is a secret.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// The value of these options: the next argument, joined to a short one, or behind `=`.
    Option(&'static [&'static str]),
    /// The value joined to this option.
    Joined(&'static str),
    /// These options ask for the secret; the next argument is something else, unless it looks like a password.
    Prompted(&'static [&'static str]),
    /// The part behind a mark of the value of these options: `-u user:password`.
    Pair(&'static [&'static str], u8),
    /// The argument at this place behind the words, not counting options.
    Argument(usize),
    /// The part behind a mark of that argument: `user/password@database`.
    ArgumentPair(usize, u8),
    /// Whatever follows this text at the beginning of an argument.
    After(&'static str),
    /// The argument behind one that is a secret's name: `git config github.token X`.
    Named,
    /// The values of all `NAME=value`.
    Members,
    /// The same where the value is a list of them.
    Cookies(&'static [&'static str]),
    /// The values of `NAME=value` behind this option.
    OptionMembers(&'static [&'static str]),
}

impl Takes {
    /// The options of which one must be there; none where there need not be any.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Takes::Option(names)
            | Takes::Prompted(names)
            | Takes::Pair(names, _)
            | Takes::Cookies(names)
            | Takes::OptionMembers(names) => names,
            _ => &[],
        }
    }
}

/// One row: programs (`*` at the end: any that begin so), words of theirs in this order, and what is a secret then.
pub(super) struct Row {
    pub programs: &'static [&'static str],
    pub words: &'static [&'static str],
    pub takes: Takes,
}

const fn row(
    programs: &'static [&'static str],
    words: &'static [&'static str],
    takes: Takes,
) -> Row {
    Row {
        programs,
        words,
        takes,
    }
}

use Takes::{
    After, Argument, ArgumentPair, Cookies, Joined, Members, Named, Option as Value, OptionMembers,
    Pair, Prompted,
};

const CONTAINERS: &[&str] = &[
    "docker",
    "podman",
    "nerdctl",
    "buildah",
    "skopeo",
    "helm",
    "oras",
    "crane",
    "singularity",
    "apptainer",
];
const MYSQL: &[&str] = &["mysql*", "mariadb*", "mycli"];
const MINIO: &[&str] = &["mc", "mcli"];

/// What the rows of a program say is added up.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Registries and services that are logged in to.
    row(CONTAINERS, &["login"], Value(&["-p"])),
    row(CONTAINERS, &[], Pair(&["--creds", "--src-creds", "--dest-creds"], b':')),
    row(&["az", "oc", "cf", "ibmcloud", "rancher"], &["login"], Value(&["-p"])),
    row(&["wandb", "vault", "cargo"], &["login"], Argument(0)),
    row(&["vault"], &["kv", "put"], Members),
    row(&["vault"], &["kv", "patch"], Members),
    row(&["vault"], &["write"], After("secret_id=")),
    row(&["vault"], &["operator", "unseal"], Argument(0)),
    row(&["snyk"], &["auth"], Argument(0)),
    row(&["ngrok"], &["authtoken"], Argument(0)),
    row(&["ngrok"], &["add-authtoken"], Argument(0)),
    row(&["conda", "anaconda", "mamba"], &["token", "set"], Argument(0)),
    row(&["anaconda", "binstar"], &["upload"], Value(&["-t"])),
    row(&["doctl", "glab"], &["auth"], Value(&["-t"])),
    row(&["netlify", "vercel"], &[], Value(&["--auth", "-t"])),
    row(&["gh", "glab"], &["secret", "set"], Value(&["-b", "--body"])),
    row(&["gitlab-runner"], &["register"], Value(&["-r", "-t"])),
    row(&["kubectl", "oc", "k3s"], &["create", "secret"], OptionMembers(&["--from-literal"])),
    // Publishing of packages.
    row(&["twine"], &[], Value(&["-p"])),
    row(&["uv"], &["publish"], Value(&["-p", "-t"])),
    row(&["hatch"], &["publish"], Value(&["-a", "--auth"])),
    row(&["poetry", "pdm", "maturin"], &["publish"], Value(&["-p", "-P"])),
    row(&["maturin"], &["upload"], Value(&["-p"])),
    row(&["npm", "pnpm", "yarn"], &[], Value(&["--otp"])),
    // Settings: the name says what the value is.
    row(&["poetry"], &["config", "http-basic*"], Argument(1)),
    row(&["poetry", "pip", "pip3", "npm", "pnpm", "yarn", "git", "conda", "mamba", "gcloud", "rclone"], &["config"], Named),
    row(&["npm", "pnpm", "yarn"], &["set"], Named),
    row(&["aws"], &["configure", "set"], Named),
    row(&["dvc"], &["remote", "modify"], Named),
    row(&["nmcli"], &[], Named),
    row(&["wpa_passphrase"], &[], Argument(1)),
    row(&["rclone"], &["obscure"], Argument(0)),
    row(MINIO, &["alias", "set"], Argument(3)),
    row(MINIO, &["config", "host", "add"], Argument(3)),
    row(MINIO, &["admin", "user", "add"], Argument(2)),
    // Transfer.
    row(&["curl"], &[], Pair(&["-u", "--user", "-U", "--proxy-user"], b':')),
    row(&["curl"], &[], Value(&["--oauth2-bearer", "--key-passwd", "--tlspassword", "--proxy-tlspassword"])),
    row(&["curl"], &[], Cookies(&["-b", "--cookie"])),
    row(&["http", "https", "xh", "xhs"], &[], Pair(&["-a", "--auth"], b':')),
    row(&["etcdctl", "influx"], &[], Pair(&["-u", "--user"], b':')),
    row(&["influx"], &[], Value(&["-t"])),
    row(&["lftp", "lftpget"], &[], Pair(&["-u", "--user"], b',')),
    row(&["ncftp*"], &[], Value(&["-p"])),
    row(&["sshpass"], &[], Value(&["-p"])),
    row(&["smbclient", "rpcclient", "smbget", "smbmap", "winexe"], &[], Pair(&["-U", "--user"], b'%')),
    row(&["smbmap"], &[], Value(&["-p"])),
    row(&["xfreerdp*", "wlfreerdp*"], &[], After("/p:")),
    row(&["rdesktop"], &[], Value(&["-p"])),
    row(&["x11vnc"], &[], Value(&["-passwd"])),
    row(&["ipmitool"], &[], Value(&["-P"])),
    row(&["snmp*"], &[], Value(&["-c", "-A", "-X"])),
    row(&["mosquitto*"], &[], Value(&["-P"])),
    // Databases and directories.
    row(MYSQL, &[], Joined("-p")),
    row(MYSQL, &[], Prompted(&["-p", "--password"])),
    row(&["mysqladmin", "mariadb-admin"], &["password"], Argument(0)),
    row(&["redis-cli", "redis-benchmark", "valkey-cli", "keydb-cli"], &[], Value(&["-a"])),
    row(&["redis-cli", "valkey-cli", "keydb-cli"], &["auth"], Argument(0)),
    row(&["mongo*"], &[], Value(&["-p"])),
    row(&["sqlcmd", "isql", "tsql"], &[], Value(&["-P"])),
    row(&["sqlplus"], &[], ArgumentPair(0, b'/')),
    row(&["cqlsh", "beeline"], &[], Value(&["-p"])),
    row(&["ldap*"], &[], Value(&["-w"])),
    row(&["ldappasswd"], &[], Value(&["-s", "-a"])),
    row(&["rabbitmqctl"], &["add_user"], Argument(1)),
    row(&["rabbitmqctl"], &["change_password"], Argument(1)),
    row(&["rabbitmqadmin"], &[], Value(&["-p"])),
    // Accounts, keys and archives.
    row(&["mosquitto_passwd"], &["-b"], Argument(2)),
    row(&["htpasswd"], &["-b*"], Argument(2)),
    row(&["htpasswd"], &["-n*"], Argument(1)),
    row(&["mkpasswd"], &[], Argument(0)),
    row(&["useradd", "usermod"], &[], Value(&["-p"])),
    row(&["openssl"], &[], After("pass:")),
    row(&["openssl"], &["enc"], Value(&["-k", "-K"])),
    row(&["openssl"], &["passwd"], Argument(0)),
    row(&["openssl"], &[], Value(&["-hmac"])),
    row(&["keytool", "jarsigner"], &[], Value(&["-storepass", "-keypass", "-deststorepass", "-srcstorepass", "-destkeypass", "-srckeypass"])),
    row(&["pkcs11-tool", "softhsm2-util", "ykman"], &[], Value(&["--pin", "--so-pin", "--new-pin"])),
    row(&["7z*"], &[], Joined("-p")),
    row(&["rar", "unrar"], &[], Joined("-p")),
    row(&["rar", "unrar"], &[], Joined("-hp")),
    row(&["zip", "unzip", "zipcloak"], &[], Value(&["-P"])),
];

/// Options that elsewhere have a secret as value, and here none.
pub(super) const SWITCHES: [(&[&str], &[&str]); 4] = [
    (
        &[
            "psql",
            "pg_*",
            "createdb",
            "dropdb",
            "createuser",
            "dropuser",
            "vacuumdb",
            "reindexdb",
            "clusterdb",
            "pgbench",
            "trino",
            "presto",
            "mysql*",
            "mariadb*",
        ],
        &["--password"],
    ),
    (
        &[
            "docker", "podman", "nerdctl", "buildah", "gcloud", "gh", "act",
        ],
        &["--secret"],
    ),
    (&["ffmpeg", "ffprobe", "x264", "x265"], &["-pass"]),
    (&["openssl"], &["-pass", "-passin", "-passout"]),
];

/// Programs that run another behind one of these words.
pub(super) const RUNS: [(&[&str], &[&str]); 2] = [
    (
        &[
            "uv",
            "pipx",
            "poetry",
            "pdm",
            "hatch",
            "conda",
            "mamba",
            "micromamba",
            "pixi",
        ],
        &["run"],
    ),
    (
        &["docker", "podman", "kubectl", "nerdctl"],
        &["run", "exec"],
    ),
];

/// Programs that run another, which follows with its arguments.
pub(super) const WRAPPERS: [&str; 37] = [
    "sudo",
    "doas",
    "env",
    "nohup",
    "time",
    "nice",
    "ionice",
    "timeout",
    "setsid",
    "stdbuf",
    "xargs",
    "strace",
    "ltrace",
    "watch",
    "flock",
    "exec",
    "command",
    "unbuffer",
    "uvx",
    "npx",
    "bunx",
    "srun",
    "mpirun",
    "torchrun",
    "chroot",
    "runuser",
    "parallel",
    "tini",
    "dumb-init",
    "ssh",
    "then",
    "do",
    "else",
    "if",
    "while",
    "!",
    "gosu",
];

/// Programs whose argument behind `-c` or `-e` is a program text; scripts of theirs are programs by themselves.
pub(super) const INTERPRETERS: [&str; 16] = [
    "python*",
    "ipython*",
    "pypy*",
    "node",
    "nodejs",
    "deno",
    "bun",
    "ruby",
    "perl",
    "php",
    "Rscript",
    "R",
    "julia",
    "lua",
    "jython",
    "osascript",
];

/// Programs that have a shell run an argument.
pub(super) const SHELLS: [&str; 30] = [
    "sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox", "csh", "tcsh", "mksh", "yash",
    "pwsh", "su", "ssh", "script", "tmux", "screen", "watch", "parallel", "sbatch", "qsub", "bsub",
    "at", "batch", "runuser", "sg", "pdsh", "salt", "xterm",
];

/// Programs that take an assignment whose value goes to the end of the argument.
pub(super) const ASSIGNERS: [&str; 6] = ["env", "export", "make", "docker", "podman", "setx"];

/// Commands that read a secret from their standard input.
pub(super) const READERS: [(&str, &str); 15] = [
    ("sudo", "-S"),
    ("docker", "--password-stdin"),
    ("podman", "--password-stdin"),
    ("helm", "--password-stdin"),
    ("gh", "--with-token"),
    ("chpasswd", ""),
    ("passwd", "--stdin"),
    ("gpg", "--passphrase-fd"),
    ("cryptsetup", ""),
    ("kinit", ""),
    ("smbpasswd", "-s"),
    ("glab", "--stdin"),
    ("openssl", "stdin"),
    ("vault", "-"),
    ("argocd", "--password-stdin"),
];

/// Calls whose arguments are a name and its value.
pub(super) const SETTERS: [&str; 6] = [
    "setdefault(",
    "putenv(",
    "setenv(",
    "set_key(",
    "setItem(",
    "set_password(",
];

/// Calls whose arguments are a user and a password.
pub(super) const SIGN_INS: [&str; 5] =
    ["auth=(", "auth = (", "BasicAuth(", "DigestAuth(", ".login("];

/// Whether a name is one of a list, of which `*` ends any that begin so.
pub(super) fn is_listed(list: &[&str], name: &[u8]) -> bool {
    let is_it = |known: &&str| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => known.as_bytes() == name,
    };
    let first = name.first();
    list.iter()
        .any(|known| known.as_bytes().first() == first && is_it(known))
}
