//! The far side of the queue: the thread that writes.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use crtmp_host::config::{Appender, AppenderKind};
use slog::{OwnedKVList, Record};

use super::file::{Failure, LogFile, Rotation};
use super::{Message, Shared, levels, line, number};

/// An appender that is open.
pub(super) struct Sink {
    appender: Appender,
    /// What it takes by command, whatever its configuration says.
    level: Option<i64>,
    target: Target,
    coloured: bool,
    newline: String,
    /// Lines that could not be written, and have not been reported here.
    lost: u64,
}

enum Target {
    /// Lines for standard output, until the queue is empty.
    Console(Vec<u8>),
    File(LogFile),
}

/// A console keeps at most this much before it is written.
const BUFFER: usize = 64 * 1024;

impl Sink {
    pub(super) fn open(appender: &Appender) -> io::Result<Self> {
        let history = appender.file_history_size.unwrap_or(Appender::DEFAULT_HISTORY);
        let rotation = appender.file_length.map(|length| Rotation { length, history });
        let target = match &appender.file_name {
            Some(path) => Target::File(LogFile::open(path, rotation)?),
            None => Target::Console(Vec::new()),
        };
        // Colours are for eyes: not for a pipe or a file behind the shell's `>`.
        let coloured = appender.kind == AppenderKind::ColoredConsole && io::stdout().is_terminal();
        let newline = appender.new_line_characters.clone().unwrap_or_else(|| "\n".into());
        Ok(Self { appender: appender.clone(), level: None, target, coloured, newline, lost: 0 })
    }

    pub(super) fn takes(&self, level: u8) -> bool {
        match self.level {
            Some(most) => i64::from(level) <= most,
            None => self.appender.takes(level),
        }
    }

    fn log(
        &mut self,
        out: &mut String,
        time: SystemTime,
        record: &Record<'_>,
        values: &OwnedKVList,
    ) -> Outcome {
        out.clear();
        if self.appender.kind == AppenderKind::Json {
            line::json(out, time, record, values);
        } else {
            line::text(out, time, record, values, self.appender.single_line, self.coloured);
        }
        out.push_str(&self.newline);
        self.write(out.as_bytes())
    }

    fn write(&mut self, text: &[u8]) -> Outcome {
        match &mut self.target {
            Target::Console(buffer) => {
                buffer.extend_from_slice(text);
                if buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
            }
            Target::File(file) => file.write(text),
        }
    }

    fn flush(&mut self) -> Outcome {
        match &mut self.target {
            Target::Console(buffer) => {
                let lines = buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
                let mut console = io::stdout().lock();
                let result = console.write_all(buffer).and_then(|()| console.flush());
                buffer.clear();
                result.map_err(|error| Failure { error, lost: lines })
            }
            Target::File(file) => file.flush(),
        }
    }

    fn reopen(&mut self) -> Outcome {
        match &mut self.target {
            Target::Console(_) => Ok(()),
            Target::File(file) => file.reopen(),
        }
    }

    fn name(&self) -> String {
        self.appender.file_name.as_ref().map_or_else(|| "console".into(), |path| path.display().to_string())
    }
}

type Outcome = Result<(), Failure>;

/// The thread that writes.
pub(super) struct Writer {
    sinks: Vec<Sink>,
    shared: Arc<Shared>,
    /// The line that is being made.
    out: String,
}

impl Writer {
    pub(super) fn new(sinks: Vec<Sink>, shared: Arc<Shared>) -> Self {
        Self { sinks, shared, out: String::new() }
    }

    /// Writes until it is told that no line follows.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let message = match queue.try_recv() {
                Ok(message) => message,
                Err(_) => {
                    self.flush();
                    match queue.recv() {
                        Ok(message) => message,
                        Err(_) => return,
                    }
                }
            };
            match message {
                Message::Line(time, record) => {
                    self.report_dropped();
                    record.as_record_values(|record, values| self.log(time, record, values));
                }
                Message::Wake => {}
                Message::End => {
                    self.report_dropped();
                    self.flush();
                    return;
                }
            }
            if self.shared.ordered.swap(false, Ordering::Acquire) {
                self.obey();
            }
        }
    }

    fn log(&mut self, time: SystemTime, record: &Record<'_>, values: &OwnedKVList) {
        let level = number(record.level(), record.tag());
        for sink in self.sinks.iter_mut().filter(|sink| sink.takes(level)) {
            let result = sink.log(&mut self.out, time, record, values);
            account(sink, &self.shared, result);
        }
    }

    /// Tells the readers of the log that lines are missing here.
    fn report_dropped(&mut self) {
        let dropped = self.shared.unreported.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.warn(&format!("{dropped} log lines lost: more were logged than could be written"));
        }
    }

    fn warn(&mut self, text: &str) {
        self.log(
            SystemTime::now(),
            &slog::record!(slog::Level::Warning, "", &format_args!("{text}"), slog::b!()),
            &slog::o!().into(),
        );
    }

    fn flush(&mut self) {
        for index in 0..self.sinks.len() {
            let sink = &mut self.sinks[index];
            let result = sink.flush();
            let written = result.is_ok();
            account(sink, &self.shared, result);
            // Lines of a disk that was full are reported as soon as there is room again.
            if written && sink.lost > 0 {
                let text =
                    format!("{} log lines lost: they could not be written", std::mem::take(&mut sink.lost));
                let result = sink
                    .log(
                        &mut self.out,
                        SystemTime::now(),
                        &slog::record!(slog::Level::Warning, "", &format_args!("{text}"), slog::b!()),
                        &slog::o!().into(),
                    )
                    .and_then(|()| sink.flush());
                account(sink, &self.shared, result);
            }
        }
    }

    fn obey(&mut self) {
        let orders = std::mem::take(&mut *self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(sinks) = orders.replace {
            self.flush();
            self.sinks = sinks;
            self.shared.levels.store(levels(&self.sinks), Ordering::Relaxed);
        }
        if let Some(level) = orders.level {
            self.flush();
            self.sinks.iter_mut().for_each(|sink| sink.level = Some(level));
            self.shared.levels.store(levels(&self.sinks), Ordering::Relaxed);
        }
        if orders.reopen {
            let mut warnings = Vec::new();
            for sink in &mut self.sinks {
                if let Err(failure) = sink.reopen() {
                    warnings.push(format!("{} cannot be opened again: {}", sink.name(), failure.error));
                    account(sink, &self.shared, Err(failure));
                }
            }
            warnings.iter().for_each(|text| self.warn(text));
        }
    }
}

fn account(sink: &mut Sink, shared: &Shared, result: Outcome) {
    if let Err(failure) = result {
        sink.lost += failure.lost;
        shared.lost.fetch_add(failure.lost, Ordering::Relaxed);
    }
}
