//! The life of the process: start, signals, end.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use crtmp_host::{
    chains::Catalogue,
    commands::{Reply, fail as failed, success},
    config::{ConfigError, Configuration},
    server::{self, Drain, Environment, Order, Reloaded, Server, Wish},
};
use serde_json::json;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};
use slog::{Logger, crit, error, info, warn};

use crate::{
    chains,
    cli::Cli,
    logging, lua,
    process::{self, Fork, Identity, PidFile, Usage, Verdict},
    services,
};

/// How long the answer to the command that ends the server has for its way to the session.
const FAREWELL: Duration = Duration::from_millis(200);

/// Something for the main thread.
enum Task {
    /// A signal has come.
    Signal(i32),
    /// The server has something to do for itself.
    Order(Order),
    /// A worker has failed.
    WorkerFailed,
}

/// Runs the server until it is told to end. A start that fails exits with 1.
pub(crate) fn run(cli: &Cli) -> ExitCode {
    let folder = match std::env::current_dir() {
        Ok(folder) => folder,
        Err(error) => return fail(&format!("error: the current folder: {error}")),
    };
    let catalogue = match chains::catalogue() {
        Ok(catalogue) => Arc::new(catalogue),
        Err(error) => return fail(&format!("error: {error}")),
    };
    let configuration = match load(&cli.file, &folder) {
        Ok(configuration) => configuration,
        Err(text) => return fail(&text),
    };
    if cli.check {
        return check(&configuration, &catalogue, &folder, cli);
    }
    let identity = match Identity::find(cli.uid.as_deref(), cli.gid.as_deref()) {
        Ok(identity) => identity,
        Err(error) => return fail(&format!("error: {error}")),
    };
    let verdict = if cli.daemon || configuration.daemon {
        // Before any thread, poll or log exists: a fork takes only the thread that forks.
        match process::daemonise() {
            Ok(Fork::Parent(code)) => return ExitCode::from(code),
            Ok(Fork::Daemon(verdict)) => Some(verdict),
            Err(error) => return fail(&format!("error: cannot go to the background: {error}")),
        }
    } else {
        None
    };
    let start = Start { cli, folder, configuration, catalogue, identity };
    start.run(verdict)
}

/// `--test-app`: runs the tests of an application in Lua.
pub(crate) fn test_app(script: &Path) -> ExitCode {
    let file = format!("{}vmapp{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = program_folder().unwrap_or_default().join(file);
    let script = match std::path::absolute(script) {
        Ok(script) => script,
        Err(error) => return fail(&format!("error: {}: {error}", script.display())),
    };
    let tests = match crtmp_host::plugins::test_script(&library, &script) {
        Ok(tests) => tests,
        Err(text) => return fail(&format!("error: {text}")),
    };
    if tests.is_empty() {
        return fail(&format!("error: {} has no function whose name begins with `test_`", script.display()));
    }
    let failed = tests.iter().filter(|(_, fault)| fault.is_some()).count();
    for (name, fault) in &tests {
        match fault {
            None => println!("ok      {name}"),
            Some(fault) => println!("FAILED  {name}: {fault}"),
        }
    }
    println!("{} tests, {failed} failed", tests.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is known before the server starts.
struct Start<'a> {
    cli: &'a Cli,
    folder: PathBuf,
    configuration: Configuration,
    catalogue: Arc<Catalogue>,
    identity: Option<Identity>,
}

/// What a failed start says.
struct Failed(String);

impl From<Vec<ConfigError>> for Failed {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl Start<'_> {
    fn run(self, verdict: Option<Verdict>) -> ExitCode {
        let daemon = verdict.is_some();
        let appenders = &self.configuration.log_appenders;
        let started = logging::start(appenders, daemon, self.cli.use_implicit_console_appender);
        let (log, guard) = match started {
            Ok(started) => started,
            Err(error) => return give_up(verdict, &error.to_string()),
        };
        // Before anybody can know that the server runs: a signal that comes at once must not be lost.
        let (sender, tasks) = mpsc::channel();
        if let Err(reason) = listen_to_signals(sender.clone()) {
            return give_up(verdict, &format!("error: cannot listen to signals: {reason}"));
        }
        let code = match self.start(&log, verdict, sender) {
            Ok((server, pid_file)) => {
                let code = self.serve(server, tasks, &log, &guard);
                drop(pid_file);
                code
            }
            Err((verdict, Failed(reason))) => {
                for line in reason.lines() {
                    crit!(log, "the server cannot start: {line}");
                }
                give_up(verdict, &reason)
            }
        };
        info!(log, "the log ends here");
        drop(log);
        drop(guard);
        code
    }

    /// Opens, starts and announces everything.
    fn start(
        &self,
        log: &Logger,
        verdict: Option<Verdict>,
        tasks: Sender<Task>,
    ) -> Result<(Server, Option<PidFile>), (Option<Verdict>, Failed)> {
        let file = self.cli.file.display().to_string();
        info!(log, "crtmpserver {} starts", env!("CARGO_PKG_VERSION"); "pid" => std::process::id(), "configuration" => &file);
        let files = process::raise_open_files();
        if let Some(warning) = &files.warning {
            warn!(log, "{warning}");
        }
        let prepared = self.prepare(log, files.limit, tasks);
        let (server, pid_file) = match prepared {
            Ok(prepared) => prepared,
            Err(failed) => return Err((verdict, failed)),
        };
        let table = self.table(&server);
        let workers = server.workers();
        let ready = format!(
            "crtmpserver {} is ready (pid {}, {workers} workers)",
            env!("CARGO_PKG_VERSION"),
            std::process::id()
        );
        if let Some(verdict) = verdict {
            info!(log, "services\n{table}");
            if let Err(error) = verdict.ready() {
                server.stop();
                return Err((None, Failed(error)));
            }
        } else {
            let mut out = std::io::stdout().lock();
            // Nobody may be listening; the server does not depend on it.
            let _ = writeln!(out, "{table}\n{ready}").and_then(|()| out.flush());
        }
        info!(log, "{ready}");
        Ok((server, pid_file))
    }

    fn prepare(
        &self,
        log: &Logger,
        open_files: u64,
        tasks: Sender<Task>,
    ) -> Result<(Server, Option<PidFile>), Failed> {
        let named = |errors: Vec<ConfigError>| Failed::from(self.locate(errors));
        let pid_file = match &self.cli.pid {
            Some(path) => Some(PidFile::create(&self.folder.join(path)).map_err(Failed)?),
            None => None,
        };
        let bound = server::bind(&self.configuration, &self.catalogue, &self.folder).map_err(named)?;
        if let Some(identity) = &self.identity {
            identity.assume().map_err(Failed)?;
        }
        let orders = tasks.clone();
        let environment = Environment {
            log: log.clone(),
            catalogue: self.catalogue.clone(),
            read_users: Arc::new(lua::load_users),
            open_files,
            program_folder: program_folder(),
            folder: self.folder.clone(),
            on_failure: Arc::new(move || {
                // Where nobody minds tasks any more, the server ends already.
                let _ = tasks.send(Task::WorkerFailed);
            }),
            post: Arc::new(move |order| drop(orders.send(Task::Order(order)))),
        };
        let server = Server::start(self.configuration.clone(), bound, environment).map_err(named)?;
        Ok((server, pid_file))
    }

    fn locate(&self, errors: Vec<ConfigError>) -> Vec<ConfigError> {
        lua::locate(&self.folder.join(&self.cli.file), errors)
    }

    fn table(&self, server: &Server) -> String {
        let services: Vec<_> = server
            .services()
            .into_iter()
            .map(|service| services::Service {
                carrier: "tcp",
                address: service.address,
                chain: service.chain,
                application: service.application,
            })
            .collect();
        services::table(&services)
    }

    /// Minds tasks until the server is to end, and ends it.
    fn serve(
        &self,
        mut server: Server,
        tasks: Receiver<Task>,
        log: &Logger,
        guard: &logging::Guard,
    ) -> ExitCode {
        let code = self.mind_tasks(&mut server, &tasks, log, guard);
        // The second signal ends the process at once, whatever the server is doing.
        let last = move || {
            while let Ok(task) = tasks.recv() {
                match task {
                    Task::Signal(SIGINT | SIGTERM) => std::process::exit(1),
                    Task::Order(Order::Command(job)) => (job.reply)(failed("the server is shutting down")),
                    _ => {}
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("ending".to_owned()).spawn(last) {
            error!(log, "a second signal is not heard: {error}");
        }
        let stopped = server.stop();
        if stopped.workers + stopped.applications > 0 {
            warn!(log, "not everything ended in time";
                "workers" => stopped.workers, "applications" => stopped.applications);
        }
        info!(log, "the server has ended"; "lost log lines" => guard.lost());
        code
    }

    /// Minds tasks until the server is to end; those who are asked to connect elsewhere before are served meanwhile.
    fn mind_tasks(
        &self,
        server: &mut Server,
        tasks: &Receiver<Task>,
        log: &Logger,
        guard: &logging::Guard,
    ) -> ExitCode {
        let mut drain = None;
        loop {
            let looks = drain.as_ref().map(|drain: &Drain| drain.look_at(Instant::now()));
            let task = match server.poll_timeout().into_iter().chain(looks).min() {
                Some(at) => tasks.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let wishes = match task {
                Ok(Task::Signal(SIGHUP)) => {
                    guard.reopen();
                    server.events().reopen();
                    let _ = self.reload(server, log, guard);
                    Vec::new()
                }
                Ok(Task::Signal(SIGUSR1)) => {
                    show_counters(server, log);
                    Vec::new()
                }
                Ok(Task::Signal(signal)) => {
                    let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                    if !begin_end(server, &mut drain, log, name) {
                        return ExitCode::SUCCESS;
                    }
                    Vec::new()
                }
                Ok(Task::WorkerFailed) => {
                    crit!(log, "the server ends: without one of its workers it would serve only some");
                    return ExitCode::FAILURE;
                }
                Ok(Task::Order(order)) => server.on_order(order),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return ExitCode::FAILURE,
            };
            for wish in wishes.into_iter().chain(server.on_time()) {
                match wish {
                    Wish::Reload { plan: true, reply } => reply(self.plan(server)),
                    Wish::Reload { plan: false, reply } => self.reload_by_command(server, log, guard, reply),
                    Wish::LogLevel { level, reply } => {
                        guard.set_level(level);
                        reply(success("the log level is set", json!({ "level": level })));
                    }
                    Wish::End { reply } => {
                        let waits = begin_end(server, &mut drain, log, "command");
                        reply(success("the server ends", json!(null)));
                        if !waits {
                            // The answer goes through an application and a worker, which end with the server.
                            thread::sleep(FAREWELL);
                            return ExitCode::SUCCESS;
                        }
                    }
                }
            }
            if drain.as_ref().is_some_and(|drain| drain.is_over(Instant::now())) {
                info!(log, "nobody is waited for any more");
                return ExitCode::SUCCESS;
            }
        }
    }

    fn reload_by_command(&self, server: &mut Server, log: &Logger, guard: &logging::Guard, reply: Reply) {
        reply(match self.reload(server, log, guard) {
            Ok(done) => success(
                "the configuration is read again; sessions go on",
                json!({
                    "opened": done.opened,
                    "closed": done.closed,
                    "started": done.started,
                    "retuned": done.retuned,
                    "ended": done.ended,
                    "restart": done.restart.iter().map(|change| &change.path).collect::<Vec<_>>(),
                    "keptLoaded": done.kept_loaded,
                }),
            ),
            Err(text) => failed(format!("nothing is changed: {text}")),
        });
    }

    /// What a reload would do.
    fn plan(&self, server: &Server) -> serde_json::Value {
        let planned = load(&self.folder.join(&self.cli.file), &self.folder)
            .and_then(|new| server.plan(&new).map_err(|errors| Failed::from(self.locate(errors)).0));
        match planned {
            Ok(plan) => success("this is what `reload` would do", json!(plan)),
            Err(text) => failed(text),
        }
    }

    fn reload(&self, server: &mut Server, log: &Logger, guard: &logging::Guard) -> Result<Reloaded, String> {
        let done = self.try_reload(server, guard);
        match &done {
            Ok(done) => {
                for change in &done.restart {
                    warn!(
                        log,
                        "reload: {} = {} waits for a restart, {} stays in force",
                        change.path,
                        change.new,
                        change.old
                    );
                }
                for kept in &done.kept_loaded {
                    warn!(
                        log,
                        "reload: {:?} goes on with {}, which loadApplication has loaded; a restart starts what the \
                        configuration file names, and so does a reload after its `library` has changed",
                        kept.name,
                        kept.library.display()
                    );
                }
                info!(log, "reload: done"; "opened" => done.opened, "closed" => done.closed,
                    "started" => done.started.join(" "), "retuned" => done.retuned.join(" "),
                    "ended" => done.ended.join(" "));
                info!(log, "services\n{}", self.table(server));
            }
            Err(text) => text.lines().for_each(|line| error!(log, "reload: nothing is changed: {line}")),
        }
        done
    }

    fn try_reload(&self, server: &mut Server, guard: &logging::Guard) -> Result<Reloaded, String> {
        let new = load(&self.folder.join(&self.cli.file), &self.folder)?;
        let before = server.configuration().log_appenders.clone();
        let changed = (new.log_appenders != before).then(|| new.log_appenders.clone());
        if let Some(appenders) = &changed {
            guard.replace(appenders).map_err(|error| error.to_string())?;
        }
        server.reload(new).map_err(|errors| {
            let mut text = Failed::from(self.locate(errors)).0;
            if changed.is_some() && guard.replace(&before).is_err() {
                text.push_str("\nthe old log appenders cannot be opened again");
            }
            text
        })
    }
}

/// Reads and checks the configuration; relative paths in it start at `folder`.
fn load(file: &Path, folder: &Path) -> Result<Configuration, String> {
    let mut configuration = lua::load(file).map_err(|error| error.to_string())?;
    configuration.resolve(folder);
    Ok(configuration)
}

/// `--check`: what can be checked without opening a port, and the configuration with all defaults.
fn check(configuration: &Configuration, catalogue: &Catalogue, folder: &Path, cli: &Cli) -> ExitCode {
    let silent = Logger::root(slog::Discard, slog::o!());
    let read_users: server::ReadUsers = Arc::new(lua::load_users);
    let program_folder = program_folder();
    let checked =
        server::check(configuration, catalogue, program_folder.as_deref(), folder, &read_users, &silent);
    if let Err(errors) = checked {
        for error in lua::locate(&cli.file, errors) {
            eprintln!("{error}");
        }
        return ExitCode::FAILURE;
    }
    print!("{}", lua::show(configuration));
    ExitCode::SUCCESS
}

/// Sends the signals that come to whoever minds them.
fn listen_to_signals(to: Sender<Task>) -> Result<(), String> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1]).map_err(|error| error.to_string())?;
    let forward = move || {
        for signal in signals.forever() {
            if to.send(Task::Signal(signal)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(forward)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The server is to end. Whether it waits for those to leave who are asked to connect elsewhere; who says it twice does not
/// want to.
fn begin_end(server: &Server, drain: &mut Option<Drain>, log: &Logger, why: &str) -> bool {
    if drain.is_some() {
        info!(log, "{why}, again: the server ends and waits for nobody");
        return false;
    }
    *drain = server.drain();
    match drain {
        Some(_) => {
            info!(log, "{why}: the server ends when those have left who follow requests to connect elsewhere")
        }
        None => info!(log, "{why}: the server ends"),
    }
    drain.is_some()
}

/// Writes the counters where the configuration says, else into the log.
fn show_counters(server: &Server, log: &Logger) {
    // Before the counters are gathered, which takes memory itself.
    let usage = Usage::now();
    let mut counters = server.counters();
    if let Some(object) = counters.as_object_mut() {
        object.insert("process".to_owned(), usage.json());
    }
    let Some(file) = &server.configuration().counters_file else {
        return info!(log, "counters {counters}");
    };
    // Readers see the old file or the new one, never half of one.
    let draft = file.with_extension("part");
    let written =
        std::fs::write(&draft, format!("{counters}\n")).and_then(|()| std::fs::rename(&draft, file));
    if let Err(error) = written {
        error!(log, "cannot write the counters to {}: {error}", file.display());
    }
}

fn program_folder() -> Option<PathBuf> {
    std::env::current_exe().ok()?.parent().map(Path::to_owned)
}

fn fail(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}

/// Tells whoever waits why the server does not start.
fn give_up(verdict: Option<Verdict>, reason: &str) -> ExitCode {
    match verdict {
        Some(verdict) => verdict.failed(reason),
        None => eprintln!("{reason}"),
    }
    ExitCode::FAILURE
}
