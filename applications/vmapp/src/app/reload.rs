//! Another version of the script takes the place of the one that runs. Sessions stay.

use std::path::Path;
use std::time::SystemTime;

use crtmp_plugin::{Command, CommandCall, ConnId, Reply, TimerId, Verdict};
use mlua::Value;
use serde_json::json;

use super::{Script, VmApp, carry_over};
use crate::desk::{Asked, Desk};

/// What tells whether a file has changed.
pub(super) fn look(file: &Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}

impl VmApp {
    /// Adds the commands that every script has.
    pub(super) fn offer_commands(&self) -> Result<(), String> {
        if self.settings.test {
            return self.host.add_command(&Command::new("runTests", "Runs the tests of the script."));
        }
        let about = "Loads the script again; sessions stay. A script with mistakes changes nothing.";
        self.host.add_command(&Command::new(self.reload_command(), about))
    }

    /// The name of the command that loads the script again: `reloadScript.` and the name of the application.
    fn reload_command(&self) -> String {
        let fits = |letter: &char| letter.is_ascii_alphanumeric() || "_-.".contains(*letter);
        let name: String = self.host.name().chars().filter(fits).take(48).collect();
        format!("reloadScript.{name}")
    }

    pub(super) fn own_command(&mut self, call: &CommandCall<'_>) -> Option<Reply> {
        if self.settings.test && call.name.eq_ignore_ascii_case("runTests") {
            return Some(Reply::Result(self.run_tests()));
        }
        if !call.name.eq_ignore_ascii_case(&self.reload_command()) {
            return None;
        }
        self.seen = look(&self.file);
        Some(match self.reload() {
            Ok(()) => Reply::Result(json!({ "script": self.file.display().to_string() })),
            Err(text) => Reply::error("Call.Failed", &format!("nothing is changed: {text}")),
        })
    }

    /// Looks whether the file has changed, and loads it then.
    pub(super) fn watch(&mut self) {
        let now = look(&self.file);
        // A file that is gone may be on its way back: editors and copies do that.
        if now.is_none() || now == self.seen {
            return;
        }
        self.seen = now;
        match self.reload() {
            Ok(()) => self.host.info(format_args!("{} has changed and is loaded", self.file.display())),
            Err(text) => {
                self.host.error(format_args!(
                    "{} has changed and cannot be loaded, so the version before goes on: {text}",
                    self.file.display()
                ));
            }
        }
    }

    fn reload(&mut self) -> Result<(), String> {
        let shared =
            self.script.machine.export_shared().map_err(|error| format!("the table `shared`: {error}"))?;
        let old = &self.script;
        let generation = self.generation + 1;
        let mut desk = None;
        let started = Script::start(&self.host, &self.settings, &self.file, generation, |new| {
            desk = Some(new.desk.clone());
            new.machine.import_shared(&shared).map_err(|error| format!("the table `shared`: {error}"))?;
            carry_clients(old, new).map_err(|error| error.to_string())
        });
        let script = started.inspect_err(|_| {
            if let Some(desk) = desk {
                self.restore_commands(&desk);
            }
        })?;
        let old = std::mem::replace(&mut self.script, script);
        self.generation = generation;
        self.retire(old);
        self.call("on_load", None, |_| Ok(Vec::new()));
        Ok(())
    }

    /// The new version is not to be had: commands that it has added are gone again, and those that it has described
    /// in another way are as they were.
    fn restore_commands(&self, new: &Desk) {
        let old = self.script.desk.commands.borrow();
        self.remove_commands(new, &self.script.desk);
        for (name, added) in old.iter().filter(|(name, _)| new.commands.borrow().contains_key(*name)) {
            if let Err(text) = self.host.add_command(&added.command) {
                self.host.error(format_args!("the command {name} is lost: {text}"));
            }
        }
    }

    /// Takes back the commands of one version that the other does not have.
    fn remove_commands(&self, of: &Desk, but: &Desk) {
        let own = self.reload_command().to_lowercase();
        let kept = but.commands.borrow();
        for name in of.commands.borrow().keys().filter(|name| **name != own && !kept.contains_key(*name)) {
            // One that is gone is what was wanted.
            let _ = self.host.remove_command(name);
        }
    }

    /// Ends what belonged to the old version: commands, timers, calls that wait, requests without an answer, taps.
    fn retire(&self, mut old: Script) {
        self.remove_commands(&old.desk, &self.script.desk);
        for timer in old.desk.timers.borrow().keys() {
            self.host.cancel_timer(TimerId(*timer));
        }
        for (_, waiting) in old.tasks.drain() {
            old.machine.close(waiting.task);
        }
        let open: Vec<(u64, Asked)> =
            old.desk.open.borrow().iter().map(|(request, open)| (*request, open.asked)).collect();
        for (request, asked) in open {
            let text = "the application was loaded again";
            let _ = match asked {
                Asked::Message | Asked::Command => {
                    old.desk.answer(request, &[asked], Reply::error("NetConnection.Call.Failed", text))
                }
                _ => old.desk.answer(request, &[asked], Verdict::refuse(text)),
            };
        }
        for conn in old.desk.taps.borrow().keys() {
            if !self.script.desk.taps.borrow().contains_key(conn) {
                let _ = self.host.tap(ConnId(*conn), 0, false);
            }
        }
    }
}

/// Gives the new version the clients of the old one, with those of their fields that are plain data.
fn carry_clients(old: &Script, new: &mut Script) -> mlua::Result<()> {
    for (conn, client) in old.desk.clients.borrow().iter() {
        let table = new.machine.lua().create_table()?;
        for pair in client.pairs::<Value, Value>() {
            let (key, value) = pair?;
            let lua = new.machine.lua();
            if let (Some(key), Some(value)) = (carry_over(lua, &key), carry_over(lua, &value)) {
                table.raw_set(key, value)?;
            }
        }
        table.set_metatable(Some(new.meta.clone()))?;
        new.desk.clients.borrow_mut().insert(*conn, table);
    }
    Ok(())
}
