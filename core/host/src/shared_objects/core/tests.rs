use crtmp_media::SharedItem as Item;
use proptest::prelude::*;

use super::*;

/// The state machine, and what it has had done, as lines of text.
struct Stage {
    core: Core,
    in_flight: HashMap<u64, Arc<AtomicUsize>>,
    loads: Vec<Arc<str>>,
    stores: Vec<(Arc<str>, Vec<u8>)>,
    said: Vec<String>,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        Self {
            core: Core::new(Arc::new(limits), Arc::default()),
            in_flight: HashMap::new(),
            loads: Vec::new(),
            stores: Vec::new(),
            said: Vec::new(),
        }
    }

    /// A connection wants something; where there are files, they are allowed.
    fn want(&mut self, connection: u64, name: &str, persistent: bool, wishes: &[SharedWish]) {
        let in_flight = self.in_flight.entry(connection).or_default().clone();
        let client = SharedClient { connection: ConnectionId(connection), in_flight };
        let request = SharedRequest { name: name.to_owned(), persistent, wishes: wishes.to_vec() };
        self.core.request(client, name, Arc::new(request), None, Some(PathBuf::from(name)));
        self.collect();
    }

    fn use_it(&mut self, connection: u64, name: &str, persistent: bool) {
        self.want(connection, name, persistent, &[SharedWish::Use]);
    }

    fn change(&mut self, connection: u64, slot: &str, value: impl Into<Value>) {
        self.want(connection, "room", self.is_persistent(), &[set(slot, value)]);
    }

    fn is_persistent(&self) -> bool {
        self.core.objects.get("room").is_some_and(|object| object.path.is_some())
    }

    fn gone(&mut self, connection: u64) {
        self.core.gone(ConnectionId(connection));
        self.collect();
    }

    /// The oldest file has been read, and is not there.
    fn load(&mut self) {
        self.load_as(Ok(None));
    }

    fn load_as(&mut self, result: Result<Option<Stored>, String>) {
        let name = self.loads.remove(0);
        self.core.loaded(&name, result);
        self.collect();
    }

    /// The oldest file has been written; gives what stands in it.
    fn store(&mut self) -> Stored {
        let (name, bytes) = self.stores.remove(0);
        self.core.stored(&name, Ok(()));
        self.collect();
        file::decode(&bytes, &name).unwrap()
    }

    fn fail_to_store(&mut self) {
        let (name, _) = self.stores.remove(0);
        self.core.stored(&name, Err("full".to_owned()));
        self.collect();
    }

    fn said(&mut self) -> Vec<String> {
        mem::take(&mut self.said)
    }

    fn collect(&mut self) {
        for action in self.core.take_actions() {
            match action {
                Action::Tell { connection, news, bytes, answers } => {
                    self.in_flight[&connection.0].fetch_sub(bytes, Ordering::Relaxed);
                    let end = if answers { "." } else { "" };
                    let text = news.map_or_else(|| "nothing".to_owned(), |news| text_of(&news));
                    self.said.push(format!("{}: {text}{end}", connection.0));
                }
                Action::Close { connection } => self.said.push(format!("close {}", connection.0)),
                Action::Load { name, .. } => self.loads.push(name),
                Action::Store { name, bytes, .. } => self.stores.push((name, bytes)),
                Action::Complain { text, .. } => self.said.push(text),
                Action::Reply { number, result } => self.said.push(match result {
                    Ok(Held { listed, slots }) => {
                        let slots: Vec<_> = slots.iter().map(|(slot, _)| &**slot).collect();
                        format!("order {number}: v{} {}", listed.version, slots.join(", "))
                    }
                    Err(text) => format!("order {number}: {text}"),
                }),
            }
        }
    }
}

fn set(slot: &str, value: impl Into<Value>) -> SharedWish {
    SharedWish::Change { slot: slot.to_owned(), value: value.into() }
}

fn remove(slot: &str) -> SharedWish {
    SharedWish::Remove { slot: slot.to_owned() }
}

fn text_of(news: &SharedNews) -> String {
    let item = |item: &Item| match item {
        Item::Used => "used".to_owned(),
        Item::Cleared => "clear".to_owned(),
        Item::Changed { slot, value } => match &**value {
            Value::Number(number) => format!("{slot}={number}"),
            _ => format!("{slot}=…"),
        },
        Item::Accepted { slot } => format!("{slot} ok"),
        Item::Removed { slot } => format!("no {slot}"),
        Item::Sent { values } => format!("{} sent", values.len()),
        Item::Refused { code } => code.trim_start_matches("SharedObject.").to_owned(),
    };
    let items: Vec<_> = news.items.iter().map(item).collect();
    format!("v{} {}", news.version, items.join(", "))
}

#[test]
fn clients_see_what_the_others_do() {
    let mut stage = Stage::new(Limits::default());
    stage.use_it(1, "room", false);
    assert_eq!(stage.said(), ["1: v0 used, clear."]);
    stage.change(1, "a", 1.0);
    assert_eq!(stage.said(), ["1: v1 a ok."]);
    stage.use_it(2, "room", false);
    assert_eq!(stage.said(), ["2: v1 used, clear, a=1."]);
    stage.change(2, "a", 2.0);
    assert_eq!(stage.said(), ["1: v2 a=2", "2: v2 a ok."]);
    stage.want(1, "room", false, &[set("b", 1.0), set("c", 2.0), remove("a")]);
    assert_eq!(stage.said(), ["2: v3 b=1, c=2, no a", "1: v3 b ok, c ok, no a."]);
    stage.want(1, "room", false, &[SharedWish::Send { values: vec!["f".into(), Value::Null] }]);
    assert_eq!(stage.said(), ["2: v3 2 sent", "1: v3 2 sent."]);
    stage.want(2, "room", false, &[remove("none")]);
    assert_eq!(stage.said(), ["2: v3 no none."]);
    stage.want(2, "room", false, &[SharedWish::Release]);
    stage.change(1, "b", 9.0);
    assert_eq!(stage.said(), ["2: nothing.", "1: v4 b ok."]);
    stage.change(2, "b", 9.0);
    assert_eq!(stage.said(), ["2: v4 NoWriteAccess."], "who does not use it does not change it");
    // The object goes with its last client.
    stage.gone(1);
    assert!(stage.core.list().is_empty());
    stage.use_it(2, "room", false);
    assert_eq!(stage.said(), ["2: v0 used, clear."]);
}

#[test]
fn what_cannot_be_done_is_refused() {
    let mut stage = Stage::new(Limits::default());
    stage.change(1, "a", 1.0);
    stage.want(1, "room", false, &[SharedWish::Release]);
    assert_eq!(stage.said(), ["1: v0 NoWriteAccess.", "1: nothing."], "use it first");
    stage.use_it(1, "room", false);
    stage.use_it(2, "room", true);
    assert_eq!(stage.said(), ["1: v0 used, clear.", "2: v0 BadPersistence."]);
    // Without a folder nothing is persistent.
    let client = SharedClient { connection: ConnectionId(1), in_flight: Arc::default() };
    let request = SharedRequest { name: "p".into(), persistent: true, wishes: vec![SharedWish::Use] };
    stage.core.request(client, "p", Arc::new(request), None, None);
    stage.collect();
    assert_eq!(stage.said(), ["1: v0 NoWriteAccess."]);
    assert_eq!(stage.core.list().len(), 1);
}

/// Each limit below, at, and above it.
#[test]
fn limits_hold() {
    let mut stage = Stage::new(Limits { shared_object_count: 2, ..Limits::default() });
    for name in ["a", "b", "c"] {
        stage.use_it(1, name, false);
    }
    stage.use_it(2, "a", false);
    assert_eq!(
        stage.said(),
        ["1: v0 used, clear.", "1: v0 used, clear.", "1: v0 NoReadAccess.", "2: v0 used, clear."]
    );
    let mut stage = Stage::new(Limits { shared_objects_per_connection: 2, ..Limits::default() });
    for name in ["a", "b", "c", "a"] {
        stage.use_it(1, name, false);
    }
    stage.want(1, "a", false, &[SharedWish::Release]);
    stage.use_it(1, "c", false);
    let said = stage.said();
    assert_eq!(said[2], "1: v0 NoReadAccess.");
    assert_eq!([&said[3], &said[5]], ["1: v0 used, clear."; 2]);
    let mut stage = Stage::new(Limits { shared_object_clients: 2, ..Limits::default() });
    for connection in 1..=3 {
        stage.use_it(connection, "a", false);
    }
    stage.use_it(1, "a", false);
    stage.gone(1);
    stage.use_it(3, "a", false);
    let said = stage.said();
    assert_eq!(
        [&said[1], &said[3], &said[4]],
        ["2: v0 used, clear.", "1: v0 used, clear.", "3: v0 used, clear."]
    );
    assert_eq!(said[2], "3: v0 NoReadAccess.");
    let mut stage = Stage::new(Limits { shared_object_slots: 2, ..Limits::default() });
    stage.use_it(1, "room", false);
    for (slot, value) in [("a", 1.0), ("b", 1.0), ("c", 1.0), ("a", 2.0)] {
        stage.change(1, slot, value);
    }
    assert_eq!(
        stage.said()[1..],
        ["1: v1 a ok.", "1: v2 b ok.", "1: v2 NoWriteAccess, no c.", "1: v3 a ok."]
    );
    // A text takes five bytes beside its letters.
    let text = |bytes: usize| Value::String("x".repeat(bytes - 5));
    let mut stage = Stage::new(Limits { shared_object_value: 100, ..Limits::default() });
    stage.use_it(1, "room", false);
    for bytes in [99, 100, 101] {
        stage.change(1, "a", text(bytes));
        stage.want(1, "room", false, &[SharedWish::Send { values: vec![text(bytes)] }]);
    }
    assert_eq!(
        stage.said()[1..],
        [
            "1: v1 a ok.",
            "1: v1 1 sent.",
            "1: v2 a ok.",
            "1: v2 1 sent.",
            "1: v2 NoWriteAccess, a=….",
            "1: v2 NoWriteAccess."
        ]
    );
    let mut stage = Stage::new(Limits { shared_object_bytes: 2000, ..Limits::default() });
    stage.use_it(1, "room", false);
    stage.change(1, "a", text(999));
    for bytes in [998, 999, 1000] {
        stage.change(1, "b", text(bytes));
    }
    assert_eq!(stage.said()[2..], ["1: v2 b ok.", "1: v3 b ok.", "1: v3 NoWriteAccess, b=…."]);
    assert_eq!(stage.core.list()[0].bytes, 2000);
}

/// A success is said when the write that has the change has ended, and not before; the others hear of it at once.
#[test]
fn a_change_of_a_persistent_object_is_promised_when_it_is_written() {
    let mut stage = Stage::new(Limits::default());
    stage.use_it(1, "room", true);
    stage.use_it(2, "room", true);
    assert_eq!((stage.said(), stage.loads.len()), (vec![], 1), "it may hold something");
    stage.load();
    assert_eq!(stage.said(), ["1: v0 used, clear.", "2: v0 used, clear."]);
    stage.change(1, "a", 1.0);
    assert_eq!(stage.said(), ["2: v1 a=1"]);
    // Meanwhile changes gather.
    stage.change(2, "a", 2.0);
    stage.change(1, "b", 3.0);
    stage.want(2, "room", true, &[remove("a")]);
    assert_eq!(stage.said(), ["1: v2 a=2", "2: v3 b=3", "1: v4 no a"]);
    assert_eq!(stage.stores.len(), 1);
    let stored = stage.store();
    assert_eq!(stored, Stored { version: 1, slots: vec![("a".into(), 1.0.into())] });
    assert_eq!(stage.said(), ["1: v1 a ok."]);
    assert_eq!(stage.stores.len(), 1, "all that has gathered goes into one");
    let stored = stage.store();
    assert_eq!(stored, Stored { version: 4, slots: vec![("b".into(), 3.0.into())] });
    assert_eq!(stage.said(), ["2: v2 a ok.", "1: v3 b ok.", "2: v4 no a."]);
    assert!(stage.stores.is_empty());
    // Without clients it is forgotten, and read again for the next.
    stage.gone(1);
    stage.change(2, "b", 4.0);
    stage.gone(2);
    assert_eq!(stage.core.list().len(), 1, "until it is written");
    stage.store();
    assert!(stage.core.list().is_empty());
    stage.use_it(3, "room", true);
    stage.load_as(Ok(Some(Stored { version: 5, slots: vec![("b".into(), 4.0.into())] })));
    assert_eq!(stage.said(), ["3: v5 used, clear, b=4."]);
}

#[test]
fn what_cannot_be_written_is_not_promised() {
    let mut stage = Stage::new(Limits::default());
    stage.use_it(1, "room", true);
    stage.load();
    stage.said();
    stage.change(1, "a", 1.0);
    stage.fail_to_store();
    assert_eq!(stage.said(), ["cannot be written: full", "1: v1 NoWriteAccess."]);
    assert!(stage.stores.is_empty(), "it is not tried in a circle");
    assert!(stage.core.list()[0].unsaved, "nor forgotten");
    stage.use_it(2, "room", true);
    stage.gone(1);
    stage.change(2, "b", 2.0);
    let stored = stage.store();
    assert_eq!(stored.slots.len(), 2);
    assert_eq!(stage.said(), ["2: v1 used, clear, a=1.", "2: v2 b ok."]);
    // At the end of the server it is tried once more.
    stage.change(2, "c", 3.0);
    stage.fail_to_store();
    stage.core.save_all();
    stage.collect();
    assert_eq!(stage.store().slots.len(), 3);
    assert!(stage.core.is_idle());
}

/// A disk that is full for long does not fill the memory with objects that nobody uses.
#[test]
fn what_was_never_promised_is_tried_once_more_when_nobody_uses_it_and_then_forgotten() {
    let mut stage = Stage::new(Limits::default());
    for (good, left) in [(true, 1), (false, 0)] {
        stage.use_it(1, "room", true);
        stage.load();
        stage.change(1, "a", 1.0);
        stage.fail_to_store();
        stage.gone(1);
        assert_eq!((stage.core.list().len(), stage.stores.len()), (1, 1));
        if good {
            assert_eq!(stage.store().slots.len(), left);
        } else {
            stage.fail_to_store();
        }
        assert!(stage.core.list().is_empty() && stage.core.is_idle());
    }
}

/// The application has said no: nothing changes, and the client's own copy is put right.
#[test]
fn what_the_application_refuses_is_not_done() {
    let mut stage = Stage::new(Limits::default());
    let deny = |stage: &mut Stage, connection: u64, persistent: bool, wishes: &[SharedWish]| {
        let client = SharedClient { connection: ConnectionId(connection), in_flight: Arc::default() };
        stage.in_flight.insert(connection, client.in_flight.clone());
        let request = SharedRequest { name: "room".into(), persistent, wishes: wishes.to_vec() };
        let denied = Some("App.No".to_owned());
        stage.core.request(client, "room", Arc::new(request), denied, Some("room".into()));
        stage.collect();
        stage.said()
    };
    assert_eq!(deny(&mut stage, 1, true, &[SharedWish::Use]), ["1: v0 App.No."]);
    assert!(stage.core.list().is_empty() && stage.loads.is_empty(), "nothing is made");
    stage.use_it(1, "room", false);
    stage.change(1, "a", 1.0);
    stage.said();
    assert_eq!(deny(&mut stage, 2, false, &[SharedWish::Use]), ["2: v1 App.No."]);
    let wishes = [set("a", 2.0), set("b", 2.0), remove("a"), SharedWish::Send { values: vec![] }];
    let said = ["1: v1 App.No, a=1, App.No, no b, App.No, a=1, App.No."];
    assert_eq!(deny(&mut stage, 1, false, &wishes), said);
    assert_eq!(stage.core.list()[0].clients, 1);
    assert_eq!(deny(&mut stage, 1, false, &[SharedWish::Release]), ["1: nothing."]);
    assert!(stage.core.list().is_empty(), "nobody is kept");
    // While its file is read, what is refused waits for its turn.
    stage.use_it(1, "room", true);
    assert_eq!(deny(&mut stage, 1, true, &[set("a", 1.0), SharedWish::Release]), [""; 0]);
    stage.load();
    assert_eq!(stage.said(), ["1: v0 used, clear.", "1: v0 App.No, no a."]);
    assert!(stage.core.list().is_empty());
}

/// Commands look at objects and change them, as if somebody used them.
#[test]
fn the_server_itself_looks_and_changes() {
    let mut stage = Stage::new(Limits { shared_object_slots: 2, ..Limits::default() });
    let order = |stage: &mut Stage, number: u64, file: bool, wishes: &[SharedWish]| {
        let request = SharedRequest { name: "room".into(), persistent: false, wishes: wishes.to_vec() };
        stage.core.order(number, "room", Arc::new(request), file.then(|| "room".into()));
        stage.collect();
        stage.said()
    };
    assert!(order(&mut stage, 1, false, &[])[0].starts_with("order 1: nobody uses"));
    // One that nobody uses is read, and goes again.
    assert_eq!(order(&mut stage, 2, true, &[]), [""; 0]);
    stage.load();
    assert_eq!(stage.said(), ["order 2: there is no such shared object"]);
    assert_eq!(order(&mut stage, 3, true, &[set("a", 1.0)]), [""; 0]);
    stage.load();
    assert_eq!(stage.said(), [""; 0], "until it is written");
    stage.store();
    assert_eq!(stage.said(), ["order 3: v1 a"]);
    assert!(stage.core.list().is_empty());
    order(&mut stage, 4, true, &[set("a", 1.0)]);
    stage.load_as(Err("damaged".to_owned()));
    let complaint = "cannot be read: damaged";
    assert_eq!(
        stage.said(),
        [complaint.to_owned(), format!("order 4: the file of the shared object {complaint}")]
    );
    // Who uses it is told.
    stage.use_it(1, "room", false);
    stage.change(1, "a", 1.0);
    stage.said();
    let wishes = [SharedWish::Clear, set("b", 2.0), remove("c"), SharedWish::Send { values: vec![] }];
    assert_eq!(order(&mut stage, 5, false, &wishes), ["1: v2 clear, b=2, 0 sent", "order 5: v2 b"]);
    let said = order(&mut stage, 6, false, &[set("c", 1.0), set("d", 1.0)]);
    assert_eq!(said[0], "1: v3 c=1");
    assert!(said[1].starts_with("order 6: not all of it"), "{said:?}");
    assert_eq!(order(&mut stage, 7, true, &[]), ["order 7: v3 b, c"]);
    stage.gone(1);
    // Where it cannot be written that is the answer.
    order(&mut stage, 8, true, &[set("a", 1.0)]);
    stage.load();
    stage.fail_to_store();
    let said = stage.said();
    assert_eq!(said[1], "order 8: clients have been told of it, but the file cannot be written: full");
    assert!(stage.core.list().is_empty() && stage.core.is_idle());
}

#[test]
fn a_file_that_cannot_be_read_is_left_alone() {
    let mut stage = Stage::new(Limits::default());
    stage.use_it(1, "room", true);
    stage.want(1, "room", true, &[set("a", 1.0)]);
    stage.load_as(Err("damaged".to_owned()));
    let said = ["cannot be read: damaged", "1: v0 NoReadAccess.", "1: v0 NoReadAccess."];
    assert_eq!(stage.said(), said);
    assert!(stage.core.list().is_empty() && stage.stores.is_empty());
    stage.use_it(1, "room", true);
    stage.load();
    assert_eq!(stage.said(), ["1: v0 used, clear."], "it is tried again");
}

#[test]
fn who_leaves_before_the_file_is_read_uses_nothing() {
    let mut stage = Stage::new(Limits::default());
    stage.use_it(1, "room", true);
    stage.use_it(2, "room", true);
    stage.gone(1);
    stage.load();
    assert_eq!(stage.said(), ["2: v0 used, clear."]);
    assert_eq!(stage.core.list()[0].clients, 1);
    stage.gone(2);
    assert!(stage.core.list().is_empty() && stage.core.clients.is_empty());
}

/// The threads that wait for disks have so much to do at once; the others stand in line.
#[test]
fn files_wait_for_their_turn() {
    let mut stage = Stage::new(Limits::default());
    for number in 0..10 {
        stage.use_it(1, &format!("room {number}"), true);
    }
    assert_eq!(stage.loads.len(), JOBS);
    for left in (0..10).rev() {
        stage.load();
        assert_eq!(stage.loads.len(), left.min(JOBS));
    }
    assert_eq!(stage.said().len(), 10);
    assert!(stage.core.is_idle());
}

/// Who does not take its news is closed, and hears nothing more.
#[test]
fn news_on_their_way_are_bounded() {
    let limits = Limits { control_queue: 16 * 1024, shared_object_bytes: 1024, ..Limits::default() };
    let most = limits.control_queue + limits.shared_object_bytes;
    let mut stage = Stage::new(limits);
    stage.use_it(1, "room", false);
    stage.use_it(2, "room", false);
    stage.said();
    for (waiting, told) in [(most - 1, true), (most, true), (most + 1, false)] {
        stage.in_flight[&2].store(waiting, Ordering::Relaxed);
        stage.change(1, "a", 1.0);
        assert_eq!(stage.said()[0].starts_with("2: "), told, "{waiting}");
    }
    stage.in_flight[&2].store(0, Ordering::Relaxed);
    stage.change(1, "a", 2.0);
    assert_eq!(stage.said(), ["1: v4 a ok."]);
    stage.gone(2);
    assert_eq!(stage.core.list()[0].clients, 1);
}

/// CMD-13: a thousand messages for a thousand names, and removals while others look.
#[test]
fn many_names_and_many_changes_leave_nothing_behind() {
    let mut stage = Stage::new(Limits::default());
    for number in 0..1000 {
        stage.use_it(number % 50, &format!("room {number}"), number % 2 == 0);
        while !stage.loads.is_empty() {
            stage.load();
        }
    }
    assert_eq!(stage.core.list().len(), 1000);
    stage.use_it(7, "one more", false);
    assert_eq!(stage.said().last().unwrap(), "7: v0 NoReadAccess.");
    for number in 0..1000 {
        let name = format!("room {number}");
        stage.want(number % 50, &name, number % 2 == 0, &[set("a", 1.0), remove("a"), set("a", 2.0)]);
        while !stage.stores.is_empty() {
            stage.store();
        }
    }
    (0..50).for_each(|connection| stage.gone(connection));
    assert!(stage.core.list().is_empty() && stage.core.clients.is_empty() && stage.core.is_idle());
    assert_eq!(stage.core.counts.uses.load(Ordering::Relaxed), 0);
}

/// What a client knows of an object.
#[derive(Debug, Default)]
struct Copy {
    /// Its connection; no number comes twice.
    connection: u64,
    uses: bool,
    slots: BTreeMap<String, Value>,
    /// Requests without an answer.
    open: i32,
}

proptest! {
    /// Whatever is wanted in whatever order, and however long files take: each request is answered once, and in the end
    /// all clients know what the object holds, and so does its file.
    #[test]
    fn copies_are_the_same_in_the_end(
        persistent in any::<bool>(),
        steps in prop::collection::vec((0..3_usize, 0..8_u8, 0..3_u8, any::<i8>()), 0..60),
    ) {
        let limits = Limits { shared_object_slots: 2, shared_object_clients: 2, ..Limits::default() };
        let mut core = Core::new(Arc::new(limits), Arc::default());
        let (mut copies, mut jobs) = ([0, 1, 2].map(|connection| Copy { connection, ..Copy::default() }), VecDeque::new());
        let mut file = None;
        for (place, step, slot, number) in steps {
            let slot = format!("s{slot}");
            let wish = match step {
                0 | 1 => SharedWish::Use,
                2 => SharedWish::Release,
                3 | 4 => SharedWish::Change { slot: slot.clone(), value: f64::from(number).into() },
                5 => SharedWish::Remove { slot: slot.clone() },
                6 => {
                    end_a_job(&mut core, &mut jobs, &mut file, number >= -100);
                    follow(&mut core, &mut copies, &mut jobs);
                    continue;
                }
                _ => {
                    let connection = copies[place].connection;
                    core.gone(ConnectionId(connection));
                    copies[place] = Copy { connection: connection + 3, ..Copy::default() };
                    continue;
                }
            };
            let copy = &mut copies[place];
            // Who has not been told anything changes nothing, and nobody asks twice without having heard.
            let may = if step < 2 { copy.open == 0 } else { copy.uses };
            if !may {
                continue;
            }
            copy.open += 1;
            match &wish {
                SharedWish::Release => *copy = Copy { open: copy.open, connection: copy.connection, ..Copy::default() },
                // Flash changes its own copy first.
                SharedWish::Change { value, .. } => {
                    copy.slots.insert(slot, value.clone());
                }
                _ => {}
            }
            let client = SharedClient { connection: ConnectionId(copy.connection), in_flight: Arc::default() };
            let request = SharedRequest { name: "room".into(), persistent, wishes: vec![wish] };
            core.request(client, "room", Arc::new(request), None, Some(PathBuf::from("room")));
            follow(&mut core, &mut copies, &mut jobs);
        }
        core.save_all();
        follow(&mut core, &mut copies, &mut jobs);
        while !jobs.is_empty() {
            end_a_job(&mut core, &mut jobs, &mut file, true);
            follow(&mut core, &mut copies, &mut jobs);
        }
        prop_assert!(core.is_idle());
        prop_assert!(copies.iter().all(|copy| copy.open == 0), "{copies:?}");
        let slots = |object: &Object| -> BTreeMap<String, Value> {
            object.slots.iter().map(|(slot, held)| (slot.to_string(), (*held.value).clone())).collect()
        };
        let held = core.objects.get("room").map(slots);
        let users = core.objects.get("room").into_iter().flat_map(|object| object.clients.keys());
        for user in users {
            prop_assert_eq!(Some(&copies[user.0 as usize % 3].slots), held.as_ref());
        }
        if let (true, Some(held)) = (persistent, held) {
            let stored = file.map(|(_, slots): (u32, _)| slots).unwrap_or_default();
            prop_assert_eq!(stored, held);
        }
    }
}

type File = Option<(u32, BTreeMap<String, Value>)>;

/// Does what the oldest action about a file asks for; well or not.
fn end_a_job(core: &mut Core, jobs: &mut VecDeque<Action>, file: &mut File, well: bool) {
    match jobs.pop_front() {
        Some(Action::Load { name, .. }) => {
            let stored =
                file.clone().map(|(version, slots)| Stored { version, slots: slots.into_iter().collect() });
            core.loaded(&name, if well { Ok(stored) } else { Err("no".to_owned()) });
        }
        Some(Action::Store { name, bytes, .. }) if well => {
            let Stored { version, slots } = file::decode(&bytes, &name).unwrap();
            *file = Some((version, slots.into_iter().collect()));
            core.stored(&name, Ok(()));
        }
        Some(Action::Store { name, .. }) => core.stored(&name, Err("no".to_owned())),
        _ => {}
    }
}

/// Tells the clients what is new.
fn follow(core: &mut Core, copies: &mut [Copy; 3], jobs: &mut VecDeque<Action>) {
    for action in core.take_actions() {
        let (connection, news, answers) = match action {
            Action::Tell { connection, news, answers, .. } => (connection, news, answers),
            Action::Load { .. } | Action::Store { .. } => {
                jobs.push_back(action);
                continue;
            }
            _ => continue,
        };
        let copy = &mut copies[connection.0 as usize % 3];
        if copy.connection != connection.0 {
            continue;
        }
        copy.open -= i32::from(answers);
        for item in news.into_iter().flat_map(|news| news.items.to_vec()) {
            match item {
                Item::Used => copy.uses = true,
                Item::Cleared => copy.slots.clear(),
                Item::Changed { slot, value } if copy.uses => {
                    copy.slots.insert(slot.to_string(), (*value).clone());
                }
                Item::Removed { slot } => {
                    copy.slots.remove(&*slot);
                }
                _ => {}
            }
        }
    }
}
