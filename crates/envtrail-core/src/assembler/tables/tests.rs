use super::*;
use crate::process::Exec;

#[test]
fn whoever_writes_names_into_a_log_fills_no_memory() {
    let mut tables = Tables::default();
    for number in 0..40_000_u32 {
        let node = 1 + number * 7 % 20_000;
        let (table, _) = tables.of_node(node, format!("n{node}").as_bytes(), "gpu1");
        for pid in 0..80 {
            table.exec(&exec(u64::from(number) * 100 + u64::from(pid), pid));
        }
    }
    assert!(tables.tables.iter().count() <= MOST_NAMED);
    let text = tables.save(Vec::new(), |number| number.to_string());
    let images = text.unwrap().matches("\"comm\"").count();
    assert!(
        (MOST_IMAGES / 4..=MOST_IMAGES).contains(&images),
        "{images}"
    );
    // The machine that was heard of last is known, whatever the others do.
    let node = 1 + 39_999_u32 * 7 % 20_000;
    let (table, _) = tables.of_node(node, format!("n{node}").as_bytes(), "gpu1");
    assert!(table.holds(39_999 * 100 + 79));
}

#[test]
fn an_image_of_one_machine_is_never_that_of_another() {
    let names: Vec<String> = (0..4000).map(|number| format!("gpu{number}")).collect();
    let mut by_salt = FxHashMap::default();
    let pairs: Vec<(usize, usize)> = (0..names.len())
        .filter_map(|at| Some((by_salt.insert(salt_of(names[at].as_bytes()), at)?, at)))
        .collect();
    assert!(!pairs.is_empty());
    let mut event = Event::default();
    (event.time_ms, event.serial) = (1_764_000_000_000, 77);
    for (one, other) in pairs {
        let mut tables = Tables::default();
        let mut begin = |at: usize| {
            let (number, name) = (at as u32 + 1, names[at].as_bytes());
            let image = tables.image_for(number, &event, name, "own");
            let (table, _) = tables.of_node(number, name, "own");
            table.exec(&exec(image, at as u32));
            image
        };
        let images = (begin(one), begin(other));
        assert_ne!(images.0, images.1);
        // Read again, each is its own.
        assert_eq!((begin(one), begin(other)), images);
        let pid_of = |image| tables.holder(image).unwrap().lineage(image)[0].pid;
        assert_eq!(
            (pid_of(images.0), pid_of(images.1)),
            (one as u32, other as u32)
        );
    }
}

#[test]
fn what_goes_on_in_a_log_goes_on_in_its_next_part() {
    let mut tables = Tables::default();
    let images = |tables: &mut Tables, log: usize| {
        tables.set_log(Some(&format!("log{log}")));
        let (table, _) = tables.of_node(0, b"", "own");
        (0..20_u64)
            .filter(|id| table.holds(log as u64 * 1000 + id))
            .count()
    };
    for log in 0..MOST_LOGS + 2 {
        assert_eq!(images(&mut tables, log), 0);
        let (table, _) = tables.of_node(0, b"", "own");
        for id in 0..20_u64 {
            table.exec(&exec(log as u64 * 1000 + id, id as u32));
        }
    }
    // As many as fit; the one that was read longest ago is forgotten first.
    assert_eq!(images(&mut tables, 2), 20);
    assert_eq!(images(&mut tables, 0), 0);
    assert_eq!(images(&mut tables, MOST_LOGS + 1), 20);
    let text = tables.save(Vec::new(), |number| number.to_string());
    let mut again = Tables::default();
    let text = text.unwrap();
    again.restore(&text, None, |_| None, |_| None).unwrap();
    assert_eq!(images(&mut again, 2), 20);
    assert_eq!(images(&mut again, 5), 20);
}

fn exec(id: u64, pid: u32) -> Exec<'static> {
    Exec {
        comm: b"x",
        id,
        pid,
        ppid: 1,
        hint: None,
        time_ms: id,
        serial: id,
        segment: 0,
        uid: None,
        auid: None,
        ses: None,
    }
}
