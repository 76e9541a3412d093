//! Events as ECS documents, and what a server is to call them.
//!
//! What is defined elsewhere too is passed in as `Tables`; this is the one place that knows the rest.
//! Reference: <https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category>

use crate::coalesce::SUPPLEMENTED;
use crate::columns::{close, Column, Columns};
use crate::json::{push_escaped, push_moment, push_number, push_text};
use crate::ulid::make_ulid;
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use std::borrow::Cow;
use std::net::IpAddr;

/// What documents share with those of other kinds, and with what reads them back.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// (field, JSON) that every document has; a field is named with dots.
    pub constants: Vec<(String, String)>,
    /// (column, field); what is not named stands below `envtrail.event`.
    pub fields: Vec<(String, String)>,
    /// Columns whose numbers ECS has as keywords.
    pub numbers_as_text: Vec<String>,
    /// Fields of records that are no system calls, written as `auditd.data.<name>`.
    pub record_fields: Vec<String>,
}

/// One document on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The same whenever it is made again.
    pub id: String,
    /// JSON without a line break.
    pub body: Vec<u8>,
}

/// (kind of event, `event.category`, `event.type`); kinds that ECS has no category for are not here.
const CATEGORIES: [(&str, &str, &str); 6] = [
    ("exec", r#"["process"]"#, r#"["start"]"#),
    ("exit", r#"["process"]"#, r#"["end"]"#),
    ("file", r#"["file"]"#, r#"["change"]"#),
    ("user", r#"["authentication"]"#, r#"["info"]"#),
    ("config", r#"["configuration"]"#, r#"["change"]"#),
    ("daemon", r#"["configuration"]"#, r#"["info"]"#),
];
/// Columns that stand elsewhere under other names.
const ELSEWHERE: [&str; 3] = ["time", "node", "kind"];
const TYPICAL_BYTES: usize = 1_536;

/// A document for each row of a batch with the columns of `schema::schema`, or a slice of one.
///
/// # Errors
/// An event has no node, no time or no serial: nothing distinguishes it from another one.
pub fn event_documents(
    batch: &RecordBatch,
    segment: u64,
    tables: &Tables,
) -> Result<Vec<Document>, ArrowError> {
    let columns = Columns::of(batch);
    let root = plan(&columns, segment, tables);
    (0..batch.num_rows())
        .map(|row| {
            let id = id_of(&columns, row).ok_or_else(|| {
                ArrowError::InvalidArgumentError(format!(
                    "row {row}: an event has a node, a time and a serial"
                ))
            })?;
            let mut body = Vec::with_capacity(TYPICAL_BYTES);
            push_object(&mut body, row, &root);
            Ok(Document { id, body })
        })
        .collect()
}

fn id_of(columns: &Columns, row: usize) -> Option<String> {
    let node = columns.get("node").text(row)?;
    let time_ms = columns.get("time").number(row)?;
    let serial = columns.get("serial").number(row)?;
    let serial = serial.to_string();
    // What was sent of it without its later part stays another document.
    let is_supplemented = columns.get("ended_by").text(row) == Some(SUPPLEMENTED);
    let parts = ["event", node, &serial, SUPPLEMENTED];
    let named = parts.len() - usize::from(!is_supplemented);
    Some(make_ulid(
        i64::try_from(time_ms).ok()?,
        parts.get(..named).unwrap_or_default(),
    ))
}

type HasValue = fn(&Column, usize) -> bool;

/// What stands under a name.
enum Part<'a> {
    Object(Vec<Member<'a>>),
    Constant(Cow<'a, str>),
    Value(&'a Column),
    /// A number as a text.
    Quoted(&'a Column),
    /// A list of the one.
    Many(Box<Part<'a>>),
    Moment(&'a Column),
    Category(&'a Column),
    Types(&'a Column),
    Outcome(&'a Column),
    /// A list of texts as one.
    Joined(&'a Column),
    /// Names of the paths, all or those that were created.
    Names {
        paths: &'a Column,
        is_created: bool,
    },
    /// Types of records: the leading one's, and those of which a column shows that they were there.
    RecordTypes {
        leading: &'a Column,
        others: [(&'static str, &'a Column, HasValue); 6],
    },
    RecordField(&'a Column, &'a str),
    Address(&'a Column),
}

struct Member<'a> {
    name: &'a str,
    /// The name as JSON, with its colon.
    key: Vec<u8>,
    part: Part<'a>,
}

impl<'a> Member<'a> {
    fn new(name: &'a str, part: Part<'a>) -> Self {
        let mut key = Vec::new();
        push_text(&mut key, name);
        key.push(b':');
        Member { name, key, part }
    }
}

fn plan<'a>(columns: &'a Columns, segment: u64, tables: &'a Tables) -> Vec<Member<'a>> {
    let mut root = Vec::new();
    let mut put = |field: &'a str, part: Part<'a>| put(&mut root, field, part);
    let column = |name: &str| columns.get(name);
    let many = |part| Part::Many(Box::new(part));
    let (time, node, kind, paths) = (
        column("time"),
        column("node"),
        column("kind"),
        column("paths"),
    );
    put("@timestamp", Part::Moment(time));
    for (field, json) in &tables.constants {
        put(field, Part::Constant(Cow::Borrowed(json)));
    }
    put("host.name", Part::Value(node));
    put("host.hostname", Part::Value(node));
    put("related.hosts", many(Part::Value(node)));
    put("related.user", many(Part::Quoted(column("auid"))));
    put("related.ip", many(Part::Address(column("address"))));
    put("source.ip", Part::Address(column("address")));
    put("event.kind", Part::Constant("\"event\"".into()));
    put("event.category", Part::Category(kind));
    put("event.type", Part::Types(kind));
    put("event.action", Part::Value(column("type")));
    put("event.outcome", Part::Outcome(column("success")));
    put("event.sequence", Part::Value(column("serial")));
    for (name, field) in &tables.fields {
        let is_text = tables.numbers_as_text.contains(name);
        let from = column(name);
        put(
            field,
            if is_text {
                Part::Quoted(from)
            } else {
                Part::Value(from)
            },
        );
    }
    put("process.command_line", Part::Joined(column("argv")));
    let names = |is_created| Part::Names { paths, is_created };
    put("file.path", names(false));
    let others: [(&str, &Column, HasValue); 6] = [
        ("SYSCALL", column("syscall"), Column::is_valid),
        ("EXECVE", column("argv"), Column::is_valid),
        ("PATH", paths, Column::is_there),
        ("CWD", column("cwd"), Column::is_valid),
        ("PROCTITLE", column("proctitle"), Column::is_valid),
        ("SOCKADDR", column("address"), Column::is_valid),
    ];
    let leading = column("type");
    put("auditd.record_types", Part::RecordTypes { leading, others });
    let fields = column("fields");
    let members = tables.record_fields.iter();
    let members = members.map(|name| Member::new(name, Part::RecordField(fields, name)));
    put("auditd.data", Part::Object(members.collect()));
    put("envtrail.kind", Part::Constant("\"event\"".into()));
    let is_elsewhere = |name: &str| {
        ELSEWHERE.contains(&name) || tables.fields.iter().any(|(column, _)| column == name)
    };
    let mut own: Vec<Member<'a>> = columns
        .iter()
        .filter(|(name, _)| !is_elsewhere(name))
        .map(|(name, column)| Member::new(name, Part::Value(column)))
        .collect();
    for (name, part) in [
        ("segment", Part::Constant(segment.to_string().into())),
        ("kind", Part::Value(kind)),
        ("created", names(true)),
    ] {
        own.push(Member::new(name, part));
    }
    put("envtrail.event", Part::Object(own));
    root
}

/// Put a part where a field's name with dots says.
fn put<'a>(members: &mut Vec<Member<'a>>, field: &'a str, part: Part<'a>) {
    let Some((name, below)) = field.split_once('.') else {
        members.push(Member::new(field, part));
        return;
    };
    for member in members.iter_mut() {
        if let (true, Part::Object(inner)) = (member.name == name, &mut member.part) {
            put(inner, below, part);
            return;
        }
    }
    let mut inner = Vec::new();
    put(&mut inner, below, part);
    members.push(Member::new(name, Part::Object(inner)));
}

/// Write the members that there are; gives whether there is any.
fn push_object(out: &mut Vec<u8>, row: usize, members: &[Member<'_>]) -> bool {
    let begin = out.len();
    out.push(b'{');
    for member in members {
        let before = out.len();
        out.extend_from_slice(&member.key);
        if member.part.push(out, row) {
            out.push(b',');
        } else {
            out.truncate(before);
        }
    }
    let is_any = out.len() > begin + 1;
    close(out, b'{', b'}');
    is_any
}

impl Part<'_> {
    /// Write a row's value; gives whether there is one. What was written of none is the caller's to take back.
    fn push(&self, out: &mut Vec<u8>, row: usize) -> bool {
        match self {
            Part::Object(members) => push_object(out, row, members),
            Part::Constant(json) => push_plain(out, json),
            Part::Value(column) => {
                let is_there = column.is_there(row);
                if is_there {
                    column.push(out, row);
                }
                is_there
            }
            Part::Quoted(column) => on(column.number(row), |number| {
                out.push(b'"');
                push_number(out, number);
                out.push(b'"');
            }),
            Part::Many(part) => {
                out.push(b'[');
                let is_there = part.push(out, row);
                out.push(b']');
                is_there
            }
            Part::Moment(column) => on(column.number(row), |time_ms| {
                push_moment(out, i64::try_from(time_ms).unwrap_or_default());
            }),
            Part::Category(kind) => push_plain(out, category_of(kind.text(row)).0),
            Part::Types(kind) => push_plain(out, category_of(kind.text(row)).1),
            Part::Outcome(success) => push_plain(
                out,
                match success.flag(row) {
                    Some(true) => "\"success\"",
                    Some(false) => "\"failure\"",
                    None => "\"unknown\"",
                },
            ),
            Part::Joined(column) => {
                let items = column.items();
                let span = column.span(row);
                out.push(b'"');
                for at in span.clone() {
                    if at > span.start {
                        out.push(b' ');
                    }
                    push_escaped(out, items.text(at).unwrap_or_default());
                }
                out.push(b'"');
                !span.is_empty()
            }
            Part::Names { paths, is_created } => {
                let (names, types) = (
                    paths.items().member("name"),
                    paths.items().member("nametype"),
                );
                let wanted = |at: &usize| !is_created || types.text(*at) == Some("CREATE");
                let named = paths.span(row).filter(wanted);
                push_list(out, named.filter_map(|at| names.text(at)))
            }
            Part::RecordTypes { leading, others } => {
                let leading = leading.text(row);
                let present = others
                    .iter()
                    .filter(|(name, column, has_value)| {
                        has_value(column, row) && Some(*name) != leading
                    })
                    .map(|(name, ..)| *name);
                push_list(out, leading.into_iter().chain(present))
            }
            Part::RecordField(fields, name) => {
                on(fields.value_of(row, name), |text| push_text(out, text))
            }
            Part::Address(column) => on(column.text(row).and_then(address_of), |address| {
                push_text(out, &address.to_string());
            }),
        }
    }
}

fn on<T>(value: Option<T>, write: impl FnOnce(T)) -> bool {
    let is_there = value.is_some();
    if let Some(value) = value {
        write(value);
    }
    is_there
}

fn push_plain(out: &mut Vec<u8>, json: &str) -> bool {
    out.extend_from_slice(json.as_bytes());
    true
}

/// Write a list of texts; gives whether there is any in it.
fn push_list<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a str>) -> bool {
    let begin = out.len();
    out.push(b'[');
    for text in texts {
        push_text(out, text);
        out.push(b',');
    }
    let is_any = out.len() > begin + 1;
    close(out, b'[', b']');
    is_any
}

fn category_of(kind: Option<&str>) -> (&'static str, &'static str) {
    let found = CATEGORIES.iter().find(|(known, ..)| Some(*known) == kind);
    found.map_or(("[]", r#"["info"]"#), |(_, category, types)| {
        (*category, *types)
    })
}

/// An IP address without its zone; null for what is none, as a host's name.
fn address_of(text: &str) -> Option<IpAddr> {
    let (address, _zone) = text.split_once('%').unwrap_or((text, ""));
    address.parse().ok()
}
