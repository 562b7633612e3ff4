//! Scripts that mean no good, and some that do.

mod hostile;
mod library;
mod machine;
mod patterns;

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{IntoLuaMulti, MultiValue};
use tempfile::TempDir;

use super::{Cut, Limits, LoadError, Machine, Outcome};

/// A machine with its folder and what it has printed.
struct Stage {
    folder: TempDir,
    machine: Machine,
    printed: Rc<RefCell<Vec<String>>>,
    now: Instant,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let printed = Rc::new(RefCell::new(Vec::new()));
        let lines = Rc::clone(&printed);
        let machine = Machine::new(limits, move |text| lines.borrow_mut().push(text.to_owned())).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), machine, printed, now: Instant::now() }
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn try_load(&mut self, text: impl AsRef<[u8]>) -> Result<(), LoadError> {
        self.file("limit.lua", text);
        self.machine.load(self.now, &self.folder.path().join("limit.lua"))
    }

    fn load(&mut self, text: impl AsRef<[u8]>) {
        self.try_load(text).unwrap_or_else(|error| panic!("{error}"));
    }

    fn call(&mut self, name: &str, arguments: impl IntoLuaMulti) -> Outcome {
        // Each call in a second of its own.
        self.now += Duration::from_secs(1);
        self.machine.call(self.now, name, arguments)
    }

    fn done(&mut self, name: &str, arguments: impl IntoLuaMulti) -> MultiValue {
        done(self.call(name, arguments))
    }

    /// What a function without arguments returns, as text.
    fn text(&mut self, name: &str) -> String {
        text(&self.done(name, ()))
    }

    fn failed(&mut self, name: &str) -> String {
        match self.call(name, ()) {
            Outcome::Failed(fault) => fault.message,
            other => panic!("{other:?}"),
        }
    }

    fn cut(&mut self, name: &str) -> Cut {
        match self.call(name, ()) {
            Outcome::Cut(cut) => cut,
            other => panic!("{other:?}"),
        }
    }
}

fn stage(text: &str) -> Stage {
    let mut stage = Stage::new(Limits::default());
    stage.load(text);
    stage
}

fn done(outcome: Outcome) -> MultiValue {
    match outcome {
        Outcome::Done(values) => values,
        other => panic!("{other:?}"),
    }
}

fn text(values: &MultiValue) -> String {
    let texts: Vec<String> = values.iter().map(|value| value.to_string().unwrap()).collect();
    texts.join(" ")
}

/// Who is called through `pcall` or at the end of another function knows its place in Lua only, or only here.
fn without_place(line: &str) -> String {
    let Some((before, after)) = line.split_once("limit.lua:") else { return line.to_owned() };
    format!("{before}{}", after.split_once(": ").unwrap().1)
}
