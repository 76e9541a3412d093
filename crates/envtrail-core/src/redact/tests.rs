use super::*;

fn redacted(text: &str, form: Form) -> String {
    let clean = redact(text.as_bytes(), form, &mut Counts::default());
    clean.map_or(text.to_owned(), |clean| {
        String::from_utf8_lossy(&clean).into_owned()
    })
}

#[test]
fn each_kind_has_its_marker() {
    for (text, expected) in [
        (
            "pip\0-i\0https://bob:hunter2@h.example/s",
            "pip\0-i\0https://<redacted:url-credential>@h.example/s",
        ),
        (
            "x\0--password\0my pass\0y",
            "x\0--password\0<redacted:option-value>\0y",
        ),
        (
            "sh\0-c\0PGPASSWORD=x psql",
            "sh\0-c\0PGPASSWORD=<redacted:env-value> psql",
        ),
        (
            "curl\0-H\0Authorization: Bearer abcdef",
            "curl\0-H\0Authorization: Bearer <redacted:header>",
        ),
        (
            "x\0ghp_0123456789012345678901234567890123456",
            "x\0<redacted:token>",
        ),
        (
            "x\0-----BEGIN PRIVATE KEY-----\nMII",
            "x\0<redacted:private-key>",
        ),
        (
            "wandb\0login\0abcdef0123",
            "wandb\0login\0<redacted:argument>",
        ),
        (
            "curl\0-d\0{\"password\":\"x1\"}",
            "curl\0-d\0{\"password\":\"<redacted:field>\"}",
        ),
    ] {
        assert_eq!(redacted(text, Form::Arguments), expected);
    }
}

#[test]
fn a_title_may_be_cut_within_a_secret() {
    for end in [
        "https://bob:hunt",
        "hf_abc",
        "https://bob:h/unt",
        "eyJhbGciOi",
    ] {
        let lead = format!("python\0{}\0", "x".repeat(126 - 8 - end.len()));
        let title = lead.clone() + end;
        assert_eq!(title.len(), 126);
        let whole = format!("{}x{end}", lead.trim_end_matches('\0'));
        assert!(whole.len() <= 127);
        let cut = redacted(&(lead.replacen('x', "xx", 1) + end), Form::Title);
        let is_whole = cut.ends_with(end);
        assert!(
            !is_whole || end.contains('/') && end.ends_with("/unt"),
            "{cut}"
        );
        // A shorter title is not cut: `bob` is a host there, and `hunt` no port.
        assert!(redacted(&title, Form::Title).ends_with(end), "{end}");
    }
}

#[test]
fn a_command_within_a_command_within_a_command_is_looked_at() {
    let text = "bash\0-c\0bash -c \"bash -c 'curl -u bob:hunter2 http://h'\"";
    assert!(!redacted(text, Form::Arguments).contains("hunter2"));
}

#[test]
fn a_long_text_takes_no_long_time() {
    let start = std::time::Instant::now();
    for piece in [
        "a_token=\"",
        "://",
        "a://b:",
        "x;",
        "'",
        "\"password\":",
        "login ",
        "(a ",
        "-p x ",
        "eyJ.",
        "curl -u a:b|",
        "@",
        "token: ",
    ] {
        let text = "password=a@b ".to_owned() + &piece.repeat(200_000 / piece.len());
        for form in [Form::Arguments, Form::Text, Form::Path] {
            redact(text.as_bytes(), form, &mut Counts::default());
        }
        let nested = format!("bash\0-c\0{text}\0python\0-c\0{text}");
        redact(nested.as_bytes(), Form::Arguments, &mut Counts::default());
        assert!(start.elapsed().as_secs() < 60, "{piece:?}");
    }
}
